using System.Collections.Immutable;
using Platform.Torch.Models.Llama;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>A tensor of a stage as it lies in memory.</summary>
public enum BundleRole
{
    /// <summary>Token embedding.</summary>
    Embedding,

    /// <summary>Norm before attention.</summary>
    InputNorm,

    /// <summary>Query, key and value projection, one after the other.</summary>
    QueryKeyValue,

    /// <summary>Their biases.</summary>
    QueryKeyValueBias,

    /// <summary>Projection of the attention's result.</summary>
    AttentionOutput,

    /// <summary>Norm before the MLP.</summary>
    PostAttentionNorm,

    /// <summary>Gate and up projection, one after the other.</summary>
    GateUp,

    /// <summary>Down projection.</summary>
    Down,

    /// <summary>Norm before the head.</summary>
    FinalNorm,

    /// <summary>Projection to the vocabulary.</summary>
    Head,

    /// <summary>Norm of each query head.</summary>
    QueryNorm,

    /// <summary>Norm of each key head.</summary>
    KeyNorm,

    /// <summary>First factors of the adapters of <see cref="QueryKeyValue"/>, one after the other.</summary>
    QueryKeyValueAdapterA,

    /// <summary>Second factors.</summary>
    QueryKeyValueAdapterB,

    /// <summary>First factor of the adapter of <see cref="AttentionOutput"/>.</summary>
    AttentionOutputAdapterA,

    /// <summary>Second factor.</summary>
    AttentionOutputAdapterB,

    /// <summary>First factors of the adapters of <see cref="GateUp"/>, one after the other.</summary>
    GateUpAdapterA,

    /// <summary>Second factors.</summary>
    GateUpAdapterB,

    /// <summary>First factor of the adapter of <see cref="Down"/>.</summary>
    DownAdapterA,

    /// <summary>Second factor.</summary>
    DownAdapterB,
}

/// <summary>A rank's part of one weight of the model.</summary>
/// <param name="Parameter">The whole weight.</param>
/// <param name="Slice">The part.</param>
/// <param name="LocalStart">First row (index of dimension 0) of the part in its bundle.</param>
public sealed record BundlePart(LlamaParameter Parameter, TensorSlice Slice, long LocalStart)
{
    /// <summary>Shape of the part in memory, padding included.</summary>
    public ImmutableArray<long> LocalShape => Parameter.ShapeOf(Slice);
}

/// <summary>
/// One tensor that a rank holds: its parts of one or several weights, stacked along dimension 0 so that one matrix product
/// serves them all. Outside of memory (initial values, checkpoints, exports) only the weights exist.
/// </summary>
public sealed record ParameterBundle
{
    /// <summary>What it is.</summary>
    public required BundleRole Role { get; init; }

    /// <summary>Decoder layer, or null outside of them.</summary>
    public required int? Layer { get; init; }

    /// <summary>The parts from top to bottom, never empty.</summary>
    public required ImmutableArray<BundlePart> Parts { get; init; }

    /// <summary>A second copy of the embedding on the last stage of a model that ties its head: trained, but neither counted nor saved.</summary>
    public bool IsTiedCopy { get; init; }

    /// <summary>Whether it is trained; a frozen tensor has neither gradient nor optimizer state and is in no checkpoint.</summary>
    public bool IsTrained { get; init; } = true;

    /// <summary>
    /// Every rank of the tensor group holds all of it, but its backward gives each rank only a part of the gradient: their sum
    /// is formed before the update.
    /// </summary>
    public bool HasPartialGradient { get; init; }

    /// <summary>Shape in memory.</summary>
    public ImmutableArray<long> Shape => Parts[0].LocalShape.SetItem(0, Parts.Sum(part => part.LocalShape[0]));

    /// <summary>Elements in memory.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, length) => product * length);

    /// <summary>Whether every rank of the tensor group holds all of it.</summary>
    public bool IsReplicated => Parts[0].Parameter.Split == TensorSplit.Replicated;

    /// <summary>Whether weight decay applies.</summary>
    public bool Decays => Parts[0].Parameter.IsMatrix;
}
