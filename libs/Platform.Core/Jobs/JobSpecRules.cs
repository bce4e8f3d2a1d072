using System.Globalization;
using Platform.Core.Specs;

namespace Platform.Core.Jobs;

/// <summary>What the fields of a job must be to each other.</summary>
internal static class JobSpecRules
{
    /// <summary>Notes every rule that does not hold and whose fields are otherwise good.</summary>
    public static void Check(TrainingJobSpec job, ViolationList violations)
    {
        if (job.Model.From is null)
            CheckModel(job.Model, violations);
        StartingPointRules.Check(job, violations);
        if (!job.Parallelism.Auto)
            CheckLayout(job, violations);
        CheckTraining(job, violations);
        CheckTopology(job.Resources, violations);
    }

    private static void CheckTopology(ResourceSpec resources, ViolationList violations)
    {
        foreach (var (key, level) in new[] { ("pipeline", resources.PipelineTopology), ("data", resources.DataTopology) })
        {
            violations.Require(
                level is null || TopologyWidth(level) >= TopologyWidth(resources.TensorTopology), [$"resources.topology.{key}", "resources.topology.tensor"],
                $"{level} is narrower than resources.topology.tensor ({resources.TensorTopology}); use {resources.TensorTopology} or wider.");
        }
    }

    private static int TopologyWidth(string level) => level switch { "node" => 0, "block" => 1, "rack" => 2, _ => 3 };

    private static void CheckModel(ModelSpec model, ViolationList violations)
    {
        violations.Require(
            model.NumAttentionHeads % model.NumKeyValueHeads == 0,
            ["model.num_key_value_heads", "model.num_attention_heads"],
            $"{model.NumKeyValueHeads} does not divide model.num_attention_heads ({model.NumAttentionHeads}); use {Divisors(model.NumAttentionHeads)}.");
        if (model.HeadDim is { } headDim)
        {
            violations.Require(headDim % 2 == 0, ["model.head_dim"], $"{headDim} is odd; rotary positions need an even size.");
            return;
        }

        var divides = model.HiddenSize % model.NumAttentionHeads == 0;
        violations.Require(
            divides, ["model.hidden_size", "model.num_attention_heads"],
            $"{model.HiddenSize} is not a multiple of model.num_attention_heads ({model.NumAttentionHeads}); change one of them or give head_dim.");
        violations.Require(
            !divides || model.HiddenSize / model.NumAttentionHeads % 2 == 0, ["model.hidden_size", "model.num_attention_heads"],
            $"{model.HiddenSize} over {model.NumAttentionHeads} heads leaves an odd head size of {model.HiddenSize / model.NumAttentionHeads}; rotary positions need an even one.");
    }

    private static void CheckLayout(TrainingJobSpec job, ViolationList violations)
    {
        var (model, layout, training) = (job.Model, job.Parallelism, job.Training);
        if (model.From is null)
            CheckSplit(model, layout, violations);

        var sequences = (long)layout.Data * layout.MicroBatchSize;
        violations.Require(
            training.GlobalBatchSize % sequences == 0,
            ["training.global_batch_size", "parallelism.data", "parallelism.micro_batch_size"],
            $"{training.GlobalBatchSize} is not a multiple of parallelism.data × parallelism.micro_batch_size ({layout.Data} × {layout.MicroBatchSize} = {sequences}); use {Multiples(training.GlobalBatchSize, sequences)}.");
        violations.Require(
            layout.Schedule == PipelineSchedule.Interleaved || layout.VirtualStages == 1,
            ["parallelism.virtual_stages", "parallelism.schedule"],
            $"{layout.VirtualStages} virtual stages need the interleaved schedule; use 1.");
        var microBatches = training.GlobalBatchSize / sequences;
        violations.Require(
            layout.Schedule != PipelineSchedule.Interleaved || training.GlobalBatchSize % sequences != 0 || microBatches % layout.Pipeline == 0,
            ["parallelism.schedule", "parallelism.pipeline", "training.global_batch_size", "parallelism.data", "parallelism.micro_batch_size"],
            $"The interleaved schedule needs a multiple of parallelism.pipeline ({layout.Pipeline}) micro-batches; training.global_batch_size over parallelism.data × parallelism.micro_batch_size ({training.GlobalBatchSize} / {sequences}) gives {microBatches}. Use a global_batch_size of {Multiples(training.GlobalBatchSize, sequences * layout.Pipeline)}, or 1f1b.");
        var tokens = (long)layout.MicroBatchSize * job.Data.SequenceLength;
        violations.Require(
            !layout.SequenceParallel || tokens % layout.Tensor == 0,
            ["parallelism.sequence_parallel", "parallelism.tensor", "parallelism.micro_batch_size", "data.sequence_length"],
            $"The ranks of a tensor group share the tokens of a micro-batch: parallelism.micro_batch_size × data.sequence_length ({layout.MicroBatchSize} × {job.Data.SequenceLength} = {tokens}) is not a multiple of parallelism.tensor ({layout.Tensor}). Change one of them, or use false.");
        if (job.Resources.Elastic is { } elastic)
            CheckElastic(layout.Data, elastic, violations);
    }

    private static void CheckElastic(int data, ElasticSpec elastic, ViolationList violations)
    {
        violations.Require(
            elastic.MinData <= data, ["resources.elastic.min_data", "parallelism.data"],
            $"{elastic.MinData} is more than parallelism.data ({data}); allowed is 1 to {data}.");
        violations.Require(
            elastic.MaxData is null || elastic.MaxData >= data, ["resources.elastic.max_data", "parallelism.data"],
            $"{elastic.MaxData} is less than parallelism.data ({data}); use at least {data}, or remove the key.");
    }

    /// <summary>Notes where a layout does not fit a model's shape.</summary>
    public static void CheckSplit(ModelSpec model, ParallelismSpec layout, ViolationList violations)
    {
        var common = Gcd(Gcd(model.NumAttentionHeads, model.NumKeyValueHeads), model.IntermediateSize);
        violations.Require(
            model.NumAttentionHeads % layout.Tensor == 0 && model.NumKeyValueHeads % layout.Tensor == 0,
            ["parallelism.tensor", "model.num_attention_heads", "model.num_key_value_heads"],
            $"{layout.Tensor} does not divide model.num_attention_heads ({model.NumAttentionHeads}) and model.num_key_value_heads ({model.NumKeyValueHeads}); use {Divisors(common)}.");
        violations.Require(
            model.IntermediateSize % layout.Tensor == 0, ["parallelism.tensor", "model.intermediate_size"],
            $"{layout.Tensor} does not divide model.intermediate_size ({model.IntermediateSize}); use {Divisors(common)}.");
        var stages = (long)layout.Pipeline * layout.VirtualStages;
        violations.Require(
            model.NumHiddenLayers >= stages, ["parallelism.pipeline", "parallelism.virtual_stages", "model.num_hidden_layers"],
            $"{stages} stages are more than model.num_hidden_layers ({model.NumHiddenLayers}); use at most {model.NumHiddenLayers}.");
    }

    private static void CheckTraining(TrainingJobSpec job, ViolationList violations)
    {
        if (job.Model.From is null)
        {
            violations.Require(
                job.Data.SequenceLength <= job.Model.MaxPositionEmbeddings,
                ["data.sequence_length", "model.max_position_embeddings"],
                $"{job.Data.SequenceLength} is more than model.max_position_embeddings ({job.Model.MaxPositionEmbeddings}); shorten one or raise the other.");
        }

        violations.Require(
            job.Training.EvalEvery == 0 || job.Data.EvalFraction > 0, ["training.eval_every", "data.eval_fraction"],
            $"Evaluation every {job.Training.EvalEvery} steps needs held-out text; set data.eval_fraction above 0, or this to 0.");
        violations.Require(
            job.Optimizer.MinLr <= job.Optimizer.Lr, ["optimizer.min_lr", "optimizer.lr"],
            $"{Show(job.Optimizer.MinLr)} is more than optimizer.lr ({Show(job.Optimizer.Lr)}); allowed is 0 to {Show(job.Optimizer.Lr)}.");
        violations.Require(
            job.Optimizer.WarmupSteps <= job.Training.Steps, ["optimizer.warmup_steps", "training.steps"],
            $"{job.Optimizer.WarmupSteps} is more than training.steps ({job.Training.Steps}); allowed is 0 to {job.Training.Steps}.");
    }

    private static string Divisors(int number)
    {
        var divisors = Enumerable.Range(1, Math.Min(number, 1024)).Where(divisor => number % divisor == 0).Take(12).ToList();
        return divisors.Count == 1 ? "1" : $"{string.Join(", ", divisors.SkipLast(1))} or {divisors[^1]}";
    }

    private static string Multiples(long number, long unit)
    {
        var below = number / unit * unit;
        return below == 0 ? $"{unit}" : $"{below} or {below + unit}";
    }

    private static int Gcd(int a, int b) => b == 0 ? a : Gcd(b, a % b);

    private static string Show(double number) => number.ToString(CultureInfo.InvariantCulture);
}
