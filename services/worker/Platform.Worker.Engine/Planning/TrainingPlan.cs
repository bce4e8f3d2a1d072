using Platform.Core.Jobs;
using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Core.Validation;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel.Parameters;

namespace Platform.Worker.Engine.Planning;

/// <summary>A training job resolved against its data: everything the ranks must agree on, and nothing else.</summary>
public sealed record TrainingPlan
{
    /// <summary>Shape of the model.</summary>
    public required ModelConfig Model { get; init; }

    /// <summary>Adapters to train in place of the model's weights; null to train those.</summary>
    public LowRankAdapters? Adapters { get; init; }

    /// <summary>How ranks are arranged.</summary>
    public required DeviceMesh Mesh { get; init; }

    /// <summary>The job.</summary>
    public required TrainingJobSpec Spec { get; init; }

    /// <summary>How the model is laid out over the mesh.</summary>
    public LayoutSettings Layout => new(Spec.Data.SequenceLength, Spec.Parallelism.VirtualStages, Spec.Parallelism.SequenceParallel);

    /// <summary>Micro-batches per rank and step.</summary>
    public int MicroBatches => Spec.Training.GlobalBatchSize / (Mesh.Data * Spec.Parallelism.MicroBatchSize);

    /// <summary>Tokens per step, over all ranks.</summary>
    public long TokensPerStep => (long)Spec.Training.GlobalBatchSize * Spec.Data.SequenceLength;

    /// <summary>
    /// The most messages that one direction of two stages has under way in a step: each stands for a micro-batch between its
    /// forward and its backward, and two stages that go around have activations and gradients on the same way.
    /// </summary>
    /// <param name="spec">A valid job.</param>
    public static int MostMessagesUnderWay(TrainingJobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var layout = spec.Parallelism;
        var microBatches = Math.Max(1, spec.Training.GlobalBatchSize / (layout.Data * layout.MicroBatchSize));
        var shape = new PipelineShape(layout.Pipeline, microBatches, layout.VirtualStages);
        return 2 * PipelineSchedules.MostInFlight(layout.Schedule, shape, 0);
    }

    /// <summary>Weights that are trained, adapters included.</summary>
    public long TrainedCount => Adapters?.FactorsOf(Model).Sum(factor => factor.ElementCount) ?? Model.ParameterCount;

    /// <summary>Resolves a job, or says everything that this engine cannot do about it.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="vocabularySize">Tokens of its tokenizer.</param>
    /// <param name="endOfTextId">The tokenizer's end-of-text token, if it has one.</param>
    /// <param name="source">Shape of the model that is continued from; null to train the job's own shape from scratch.</param>
    public static Validated<TrainingPlan> Resolve(TrainingJobSpec spec, int vocabularySize, int? endOfTextId, ModelConfig? source = null)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var (model, layout, training) = (spec.Model, spec.Parallelism, spec.Training);
        var violations = new List<Violation>();
        if (source is not null)
            violations.AddRange(StartingPointRules.Check(spec, source));
        Reject(
            model.From is null && model.Architecture is not ("llama" or "mistral" or "qwen2" or "qwen3"), "model.architecture",
            $"Training '{model.Architecture}' is not supported; use llama, mistral, qwen2 or qwen3.");
        Reject(
            (source?.VocabSize ?? model.VocabSize ?? vocabularySize) < vocabularySize, source is null ? "model.vocab_size" : "data.tokenizer",
            $"The tokenizer has {vocabularySize} tokens, and the model {source?.VocabSize ?? model.VocabSize}; a model needs as many or more.");
        Reject(layout.Auto, "parallelism.auto", "The layout must be chosen before the job starts; give tensor, pipeline and data.");
        Reject(layout.ZeroStage is < 0 or > 3, "parallelism.zero_stage", $"Found {layout.ZeroStage}; from 0 to 3 is allowed.");
        Reject(
            spec.Optimizer.Name is not ("adamw" or "muon") || spec.Optimizer.Name == "muon" != spec.Optimizer.Muon is not null, "optimizer.name",
            $"The optimizer '{spec.Optimizer.Name}' is not supported; use adamw, or muon with its constants.");
        Reject(spec.Resources.Device != "cpu", "resources.device", $"Training on '{spec.Resources.Device}' is not supported; use cpu.");
        Reject(
            training.ActivationCheckpointing is not ("none" or "selective" or "full"), "training.activation_checkpointing",
            $"Found '{training.ActivationCheckpointing}'; none, selective and full are allowed.");
        Reject(training.Steps < 1, "training.steps", $"Found {training.Steps}; at least 1 is needed.");
        if (layout.Tensor < 1 || layout.Pipeline < 1 || layout.Data < 1 || layout.MicroBatchSize < 1 || layout.VirtualStages < 1)
            violations.Add(new("parallelism", "Tensor, pipeline, data, virtual_stages and micro_batch_size are at least 1."));
        else if (model.From is null)
            CheckDivisions();
        Reject(
            model.From is null && (spec.Data.SequenceLength < 1 || spec.Data.SequenceLength > model.MaxPositionEmbeddings), "data.sequence_length",
            $"Found {spec.Data.SequenceLength}; from 1 to the model's max_position_embeddings, {model.MaxPositionEmbeddings}, is allowed.");
        Reject(
            spec.Data.EvalFraction is < 0 or > 0.5, "data.eval_fraction", $"Found {spec.Data.EvalFraction}; from 0 to 0.5 is allowed.");

        if (violations.Count > 0)
            return new Validated<TrainingPlan>.Invalid(violations);
        return new Validated<TrainingPlan>.Valid(new TrainingPlan
        {
            Spec = spec,
            Mesh = new DeviceMesh(layout.Tensor, layout.Pipeline, layout.Data),
            Model = source is null ? ConfigOf(model, vocabularySize, endOfTextId) : WithEnd(source, endOfTextId),
            Adapters = spec.Lora is { } lora ? LowRankAdapters.Create(lora.Rank, lora.Alpha, lora.TargetModules) : null,
        });

        void Reject(bool isWrong, string field, string message)
        {
            if (isWrong)
                violations.Add(new Violation(field, message));
        }

        void CheckDivisions()
        {
            foreach (var (name, count) in new[]
                     {
                         ("num_attention_heads", model.NumAttentionHeads), ("num_key_value_heads", model.NumKeyValueHeads),
                         ("intermediate_size", model.IntermediateSize),
                     })
                Reject(
                    count < 1 || count % layout.Tensor != 0, "parallelism.tensor",
                    $"A tensor width of {layout.Tensor} does not divide model.{name}, which is {count}.");
            Reject(
                model.NumKeyValueHeads > 0 && model.NumAttentionHeads % model.NumKeyValueHeads != 0, "model.num_key_value_heads",
                $"{model.NumKeyValueHeads} key/value heads do not divide the {model.NumAttentionHeads} heads.");
            Reject(
                model.HeadDim is null && model.NumAttentionHeads > 0 && model.HiddenSize % model.NumAttentionHeads != 0, "model.num_attention_heads",
                $"{model.NumAttentionHeads} heads do not divide hidden_size, which is {model.HiddenSize}.");
            Reject(
                model.NumAttentionHeads > 0 && HeadDimOf(model) % 2 != 0, "model.head_dim", $"Found {HeadDimOf(model)}; rotary embedding needs an even size.");
            var stages = (long)layout.Pipeline * layout.VirtualStages;
            Reject(
                model.NumHiddenLayers < stages, "parallelism.pipeline",
                $"{stages} stages need at least as many layers; the model has {model.NumHiddenLayers}.");
            var parts = (long)layout.Data * layout.MicroBatchSize;
            Reject(
                layout.VirtualStages > 1 && layout.Schedule != PipelineSchedule.Interleaved, "parallelism.virtual_stages",
                $"{layout.VirtualStages} virtual stages need the interleaved schedule.");
            Reject(
                layout.Schedule == PipelineSchedule.Interleaved && training.GlobalBatchSize % parts == 0
                    && training.GlobalBatchSize / parts % layout.Pipeline != 0,
                "parallelism.schedule",
                $"The interleaved schedule needs a multiple of pipeline = {layout.Pipeline} micro-batches per rank and step; there are {training.GlobalBatchSize / parts}.");
            Reject(
                layout.SequenceParallel && (long)layout.MicroBatchSize * spec.Data.SequenceLength % layout.Tensor != 0,
                "parallelism.sequence_parallel",
                $"micro_batch_size × sequence_length = {(long)layout.MicroBatchSize * spec.Data.SequenceLength} tokens do not divide by a tensor width of {layout.Tensor}.");
            Reject(
                training.GlobalBatchSize < 1 || training.GlobalBatchSize % parts != 0, "training.global_batch_size",
                $"{training.GlobalBatchSize} sequences do not divide by data × micro_batch_size = {parts}.");
        }
    }

    private static ModelConfig WithEnd(ModelConfig source, int? endOfTextId) =>
        source.EosTokenIds.Count > 0 || endOfTextId is not { } id ? source : source with { EosTokenIds = [id] };

    private static int HeadDimOf(ModelSpec model) => model.HeadDim ?? model.HiddenSize / model.NumAttentionHeads;

    private static ModelConfig ConfigOf(ModelSpec model, int vocabularySize, int? endOfTextId) => new()
    {
        Architecture = model.Architecture,
        VocabSize = model.VocabSize ?? vocabularySize,
        HiddenSize = model.HiddenSize,
        IntermediateSize = model.IntermediateSize,
        NumHiddenLayers = model.NumHiddenLayers,
        NumAttentionHeads = model.NumAttentionHeads,
        NumKeyValueHeads = model.NumKeyValueHeads,
        HeadDim = HeadDimOf(model),
        MaxPositionEmbeddings = model.MaxPositionEmbeddings,
        RmsNormEps = model.RmsNormEps,
        RopeTheta = model.RopeTheta,
        TieWordEmbeddings = model.TieWordEmbeddings,
        AttentionBias = model.Architecture == "qwen2",
        QkNorm = model.Architecture == "qwen3",
        EosTokenIds = endOfTextId is { } id ? [id] : [],
    };
}
