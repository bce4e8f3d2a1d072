using System.Collections.Immutable;
using Platform.Core.Jobs;
using Platform.Core.Models;
using Platform.Core.Parallelism;

namespace Platform.Scheduling.Planning;

/// <summary>Live tensor bytes of a rank by what they hold.</summary>
/// <param name="States">Weights, gradients and optimizer state.</param>
/// <param name="Activations">What forwards keep for their backwards, of all micro-batches in flight.</param>
/// <param name="Logits">Logits and their gradient, where they make up the peak.</param>
/// <param name="Buffers">What lives within a layer or an update only.</param>
public readonly record struct MemoryForecast(long States, long Activations, long Logits, long Buffers)
{
    /// <summary>All of it.</summary>
    public long Total => States + Activations + Logits + Buffers;
}

/// <summary>
/// Predicts the live tensor bytes of the fullest rank at their highest, tensor by tensor as the engine keeps them. States per
/// weight: bf16 with fp32 gradients, masters and moments 18 bytes, ZeRO-1 <c>6 + 12/d</c>, ZeRO-3 <c>18/d</c> and what is
/// gathered; all fp32 16, <c>8 + 8/d</c>, <c>16/d</c> (Megatron-LM's distributed optimizer notes; Rajbhandari et al. 2020).
/// Activations follow Korthikanti et al. 2022 (arXiv 2205.05198), section 4, without the terms of dropout and of stored
/// attention scores, and with those of a gated MLP and grouped heads.
/// </summary>
/// <param name="job">The job, its layout resolved.</param>
/// <param name="model">Shape of its model.</param>
public sealed class MemoryModel(TrainingJobSpec job, ModelConfig model)
{
    private const long NormChunkElements = 4 << 20;

    private readonly ParallelismSpec _layout = job.Parallelism;
    private readonly ImmutableArray<int> _layers =
    [
        .. LayerPartition.Divide(
            model.NumHiddenLayers, job.Parallelism.Pipeline, job.Parallelism.VirtualStages, LayerCosts.Of(model, job.Data.SequenceLength))
            .Select(chunks => chunks.Sum(chunk => chunk.Count)),
    ];

    private readonly double _tensor = job.Parallelism.Tensor;
    private readonly double _sharded = job.Parallelism.SequenceParallel ? job.Parallelism.Tensor : 1;
    private readonly double _tokens = (double)job.Parallelism.MicroBatchSize * job.Data.SequenceLength;
    private readonly double _element = job.Training.Precision switch { Precision.BFloat16 => 2, Precision.Float32 => 4, _ => 8 };
    private readonly double _master = job.Training.Precision == Precision.Float64 ? 8 : 4;

    private double Hidden => model.HiddenSize;

    private double Query => (double)model.NumAttentionHeads * model.HeadDim / _tensor;

    private double KeyValue => (double)model.NumKeyValueHeads * model.HeadDim / _tensor;

    private double Inner => model.IntermediateSize / _tensor;

    private double VocabularyRows => Math.Ceiling(model.VocabSize / _tensor);

    private bool IsRounded => job.Training.Precision == Precision.BFloat16;

    /// <summary>Weights of a decoder layer on a rank, biases and norms included.</summary>
    public double LayerWeights =>
        (Hidden * (Query + (2 * KeyValue))) + (Query * Hidden) + (3 * Hidden * Inner) + (2 * Hidden)
        + (model.AttentionBias ? Query + (2 * KeyValue) : 0) + (model.QkNorm ? 2 * model.HeadDim : 0);

    /// <summary>Weights of a decoder layer's adapters on a rank; 0 without adapters.</summary>
    public double LayerAdapters => job.Lora is not { } lora ? 0 : lora.Rank * lora.TargetModules.Sum(target => target switch
    {
        "q_proj" or "o_proj" => Hidden + Query,
        "k_proj" or "v_proj" => Hidden + KeyValue,
        _ => Hidden + Inner,
    });

    /// <summary>The fullest rank.</summary>
    public MemoryForecast Fullest() =>
        Enumerable.Range(0, _layout.Pipeline).Select(Of).MaxBy(forecast => forecast.Total);

    /// <summary>Bytes of states of the fullest rank if nothing were sharded over the data group.</summary>
    public long UnshardedStates() =>
        (long)Enumerable.Range(0, _layout.Pipeline).Max(stage => (Trained(stage) * BytesPerWeight(0, 1)) - Saved(stage, 1) + Frozen(stage));

    /// <summary>Decoder layers of a stage, as the engine divides them.</summary>
    public int Layers(int stage) => _layers[stage];

    /// <summary>Weights of a rank of a stage.</summary>
    public double Weights(int stage) =>
        (_layers[stage] * LayerWeights) + (IsFirst(stage) ? Embedding : 0) + (IsLast(stage) ? Head : 0);

    /// <summary>Those of them that are trained: the adapters where there are any, else all. The others have neither gradients nor optimizer state.</summary>
    public double Trained(int stage) => job.Lora is null ? Weights(stage) : _layers[stage] * LayerAdapters;

    /// <summary>A rank of a stage.</summary>
    public MemoryForecast Of(int stage)
    {
        double layers = _layers[stage];
        double states = States(stage);
        double kept = (layers * KeptPerLayer) + (IsFirst(stage) ? 8 * _tokens : 0);
        double inFlight = InFlight(stage);
        double head = IsLast(stage) ? HeadKept : 0;

        // The peak is where the loss is formed, where a layer's backward runs, or where the update does.
        double backward = BackwardBuffers + Math.Max(Recomputed, 0);
        double logits = IsLast(stage) ? Logits : 0;
        double norm = UsesKernels || _master == 8 ? 0 : 8 * Math.Min(NormChunkElements, Trained(stage));
        double update = Math.Max(norm, job.Optimizer.Name == "muon" ? Orthogonalisation : 0);
        double activations = ((kept + head) * inFlight) + Received(stage);
        if (logits >= backward && activations + logits >= update)
        {
            return new MemoryForecast((long)states, (long)activations, (long)logits, 0);
        }

        return activations + backward >= update
            ? new MemoryForecast((long)states, (long)activations, 0, (long)backward)
            : new MemoryForecast((long)states, 0, 0, (long)update);
    }

    private double Embedding => VocabularyRows * Hidden;

    private double Head => Hidden + (model.TieWordEmbeddings && _layout.Pipeline == 1 ? 0 : Embedding);

    private static bool IsFirst(int stage) => stage == 0;

    private bool IsLast(int stage) => stage == _layout.Pipeline - 1;

    private double BytesPerWeight(int zero, double data) => (IsRounded, zero) switch
    {
        (true, 0) => 18,
        (true, 1) => 6 + (12 / data),
        (true, 2) => 2 + (16 / data),
        (true, _) => 18 / data,
        (false, 0) => 4 * _element,
        (false, 1) => (2 * _element) + (2 * _element / data),
        (false, 2) => _element + (3 * _element / data),
        _ => 4 * _element / data,
    };

    private double States(int stage)
    {
        double shared = (Trained(stage) * BytesPerWeight(_layout.ZeroStage, _layout.Data)) - Saved(stage, _layout.ZeroStage > 0 ? _layout.Data : 1)
            + Frozen(stage);
        double gathered = _layout.ZeroStage switch
        {
            // Two layers at a time, one in use and one on its way, and the embedding or the head.
            3 when _layout.Data > 1 => (_element + _master) * Gathered(stage),
            2 when _layout.Data > 1 => _master * Gathered(stage),
            _ => 0,
        };
        return shared + gathered;
    }

    /// <summary>Muon keeps no second moment of the layers' matrices.</summary>
    private double Saved(int stage, double divisor) =>
        job.Optimizer.Name != "muon" ? 0
        : job.Lora is not null ? _master * _layers[stage] * LayerAdapters / divisor
        : _master * _layers[stage] * ((Hidden * ((2 * Query) + (2 * KeyValue))) + (3 * Hidden * Inner)) / divisor;

    /// <summary>Frozen weights lie in the compute type, whole on every rank of a data group.</summary>
    private double Frozen(int stage) => job.Lora is null ? 0 : Weights(stage) * _element;

    private double Gathered(int stage) => job.Lora is not null
        ? Math.Min(2, _layers[stage]) * LayerAdapters
        : (Math.Min(2, _layers[stage]) * LayerWeights) + (IsFirst(stage) || IsLast(stage) ? Embedding : 0);

    /// <summary>
    /// Muon's update: the directions of a layer, the largest matrix of the model whole (twice where the tensor group has to put
    /// it together), two of its iterates, and two squares of its shorter side.
    /// </summary>
    private double Orthogonalisation
    {
        get
        {
            double shorter = job.Lora is { } lora ? lora.Rank : Math.Min(Hidden, model.IntermediateSize);
            double longer = Math.Max(Hidden, model.IntermediateSize);
            double whole = (_tensor > 1 ? 4 : 2) * shorter * longer;
            return _master * ((job.Lora is null ? LayerWeights : LayerAdapters) + whole + (2 * shorter * shorter));
        }
    }

    /// <summary>While a stage computes, the next message of each of its neighbours is on its way into memory of its own.</summary>
    private double Received(int stage)
    {
        int neighbours = _layout.Pipeline == 1 ? 0
            : _layout.VirtualStages > 1 ? Math.Min(2, _layout.Pipeline - 1)
            : (IsFirst(stage) ? 0 : 1) + (IsLast(stage) ? 0 : 1);
        return neighbours * _tokens * Hidden * _element / _sharded;
    }

    private double InFlight(int stage)
    {
        var shape = new PipelineShape(_layout.Pipeline, StepModel.MicroBatches(job), _layout.VirtualStages);
        return PipelineSchedules.MostInFlight(_layout.Schedule, shape, stage) / (double)_layout.VirtualStages;
    }

    // The engine's own kernels for processors with 512-bit vectors; elsewhere libtorch's, differentiated by autograd.
    private bool UsesKernels => job.Resources.Device == "cpu" && job.Training.Precision != Precision.Float64;

    private bool UsesAttentionKernel => UsesKernels && model.HeadDim % 32 == 0;

    // libtorch's bf16 attention on the CPU is slow for small heads, which are therefore computed in fp32.
    private double AttentionElement => IsRounded && model.HeadDim <= 32 && job.Resources.Device == "cpu" ? 4 : _element;

    private double AttentionKept
    {
        get
        {
            double sums = 4 * model.NumAttentionHeads / _tensor;
            if (UsesAttentionKernel)
            {
                // Rotated queries and keys with the values, the result, and a log-sum per head.
                return _tokens * ((((2 * Query) + (2 * KeyValue)) * _element) + sums);
            }

            // Rotated queries and keys, values, repeated keys and values of grouped heads, the result, and a log-sum per head.
            double repeated = model.NumAttentionHeads != model.NumKeyValueHeads ? 2 * Query : 0;
            double values = AttentionElement == _element ? (Query + (2 * KeyValue)) * _element : KeyValue * AttentionElement;
            double result = AttentionElement == _element ? 0 : Query * _element;
            return _tokens * (((Query + KeyValue + repeated + Query) * AttentionElement) + values + result + sums);
        }
    }

    // A norm's input and result and a factor per row; in double precision autograd also keeps the normalised rows.
    private double NormKept => _tokens / _sharded * ((Hidden * (job.Training.Precision == Precision.Float64 ? 3 : 2) * _element) + 4);

    // Both norms, the attention, gate and up, and what goes into the last projection.
    private double KeptWithoutRecomputation => (2 * NormKept) + AttentionKept + (_tokens * 3 * Inner * _element);

    private double KeptPerLayer => job.Training.ActivationCheckpointing switch
    {
        "full" => _tokens * Hidden * _element / _sharded,
        "selective" => KeptWithoutRecomputation - AttentionKept + (_tokens * ((2 * Query) + (2 * KeyValue)) * _element),
        _ => KeptWithoutRecomputation,
    };

    private double Recomputed => job.Training.ActivationCheckpointing switch
    {
        "full" => KeptWithoutRecomputation,
        "selective" => AttentionKept,
        _ => 0,
    };

    // The last norm, and the gradient that the loss leaves for the backward.
    private double HeadKept => NormKept + (_tokens * Hidden * _element / _sharded);

    // Logits become their gradient in place; where libtorch does it and rounds, also in fp32 and once more in bf16.
    private double Logits => (_tokens * VocabularyRows * (UsesKernels || !IsRounded ? _element : 8)) + (job.Lora is null ? Product(Embedding) : 0);

    // Gradients of the residual stream and of the MLP between its projections, and of a weight.
    private double BackwardBuffers =>
        (_tokens * _element * ((2 * Hidden) + (3 * Inner))) + Product(job.Lora is { } lora
            ? lora.Rank * Math.Max(Hidden, Inner)
            : Math.Max(2 * Hidden * Inner, Hidden * (Query + (2 * KeyValue))));

    // A weight's gradient is formed in bf16 before it is added to the sum in fp32; without rounding it is added as it is formed.
    private double Product(double weights) => IsRounded ? _element * weights : 0;
}
