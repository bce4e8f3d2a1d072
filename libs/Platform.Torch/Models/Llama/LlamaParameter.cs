using System.Collections.Immutable;

namespace Platform.Torch.Models.Llama;

/// <summary>What a weight is for.</summary>
public enum LlamaRole
{
    /// <summary>Token embedding.</summary>
    Embedding,

    /// <summary>Norm before attention.</summary>
    InputNorm,

    /// <summary>Query projection.</summary>
    Query,

    /// <summary>Key projection.</summary>
    Key,

    /// <summary>Value projection.</summary>
    Value,

    /// <summary>Bias of the query projection.</summary>
    QueryBias,

    /// <summary>Bias of the key projection.</summary>
    KeyBias,

    /// <summary>Bias of the value projection.</summary>
    ValueBias,

    /// <summary>Per-head norm of the queries.</summary>
    QueryNorm,

    /// <summary>Per-head norm of the keys.</summary>
    KeyNorm,

    /// <summary>Projection of the attention's result.</summary>
    AttentionOutput,

    /// <summary>Norm before the MLP.</summary>
    PostAttentionNorm,

    /// <summary>Gate projection of the MLP.</summary>
    Gate,

    /// <summary>Up projection of the MLP.</summary>
    Up,

    /// <summary>Down projection of the MLP.</summary>
    Down,

    /// <summary>Norm before the head.</summary>
    FinalNorm,

    /// <summary>Projection to the vocabulary.</summary>
    Head,

    /// <summary>First factor of a low-rank adapter, from a layer's inputs to the rank.</summary>
    AdapterA,

    /// <summary>Second factor of a low-rank adapter, from the rank to a layer's outputs.</summary>
    AdapterB,
}

/// <summary>How ranks of a tensor-parallel group share a weight.</summary>
public enum TensorSplit
{
    /// <summary>Every rank holds all of it.</summary>
    Replicated,

    /// <summary>Along dimension 0, the outputs (Megatron's column-parallel layer).</summary>
    Column,

    /// <summary>Along dimension 1, the inputs (Megatron's row-parallel layer).</summary>
    Row,

    /// <summary>Along dimension 0, the vocabulary; the last ranks' shares are padded if it does not divide.</summary>
    Vocabulary,
}

/// <summary>Where in the model a weight stands, which decides its pipeline stage.</summary>
public abstract record ModelPosition
{
    private ModelPosition()
    {
    }

    /// <summary>Before the first decoder layer: the first stage.</summary>
    public sealed record Embedding : ModelPosition;

    /// <summary>In a decoder layer: the stage that has this layer.</summary>
    /// <param name="Index">Layer, from 0.</param>
    public sealed record DecoderLayer(int Index) : ModelPosition;

    /// <summary>After the last decoder layer: the last stage.</summary>
    public sealed record Head : ModelPosition;
}

/// <summary>The part of a global tensor that one rank holds: a range along one dimension.</summary>
/// <param name="Dimension">Dimension that is cut.</param>
/// <param name="Start">First index along it.</param>
/// <param name="Length">Indices that exist in the global tensor.</param>
/// <param name="PaddedLength">Indices of the rank's own tensor; those beyond <paramref name="Length"/> are padding, kept at zero.</param>
public readonly record struct TensorSlice(int Dimension, long Start, long Length, long PaddedLength);

/// <summary>Elements that are consecutive both in a whole weight and in a slice of it, counted row by row.</summary>
/// <param name="GlobalFirst">Index of the first in the whole weight.</param>
/// <param name="LocalFirst">Index of the first in the tensor that holds the slice, padding included.</param>
/// <param name="Count">Number of elements.</param>
public readonly record struct ElementRun(long GlobalFirst, long LocalFirst, long Count);

/// <summary>One weight of the whole model.</summary>
/// <param name="Name">Hugging Face's name, e.g. <c>model.layers.0.self_attn.q_proj.weight</c>.</param>
/// <param name="Shape">Shape of the whole weight; matrices are [outputs, inputs].</param>
/// <param name="Role">What it is for.</param>
/// <param name="Split">How a tensor-parallel group shares it.</param>
/// <param name="Position">Where it stands.</param>
public sealed record LlamaParameter(
    string Name, ImmutableArray<long> Shape, LlamaRole Role, TensorSplit Split, ModelPosition Position)
{
    /// <summary>Elements of the whole weight.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, length) => product * length);

    /// <summary>Whether it is a matrix; norms and biases are not, and usually take no weight decay.</summary>
    public bool IsMatrix => Shape.Length == 2;

    /// <summary>Whether it is one of an adapter's factors, which are no part of the model itself.</summary>
    public bool IsAdapter => Role is LlamaRole.AdapterA or LlamaRole.AdapterB;

    /// <summary>The whole weight as a slice.</summary>
    public TensorSlice Whole => new(0, 0, Shape[0], Shape[0]);

    /// <summary>The part that one rank of a tensor-parallel group holds.</summary>
    /// <param name="rank">Place in the group.</param>
    /// <param name="width">Size of the group.</param>
    /// <exception cref="ArgumentException">The dimension that is cut does not divide by <paramref name="width"/>, and is not the vocabulary.</exception>
    public TensorSlice SliceFor(int rank, int width)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(rank);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(rank, width);
        if (Split == TensorSplit.Replicated)
            return Whole;
        var dimension = Split == TensorSplit.Row ? 1 : 0;
        var size = Shape[dimension];
        if (Split != TensorSplit.Vocabulary && size % width != 0)
            throw new ArgumentException(
                $"{Name} has {size} elements along dimension {dimension}, which do not divide by a tensor width of {width}.", nameof(width));
        var share = (size + width - 1) / width;
        var start = Math.Min(size, rank * share);
        return new TensorSlice(dimension, start, Math.Min(share, size - start), share);
    }

    /// <summary>Shape of the tensor that holds a slice, padding included.</summary>
    public ImmutableArray<long> ShapeOf(TensorSlice slice) => Shape.SetItem(slice.Dimension, slice.PaddedLength);

    /// <summary>
    /// The runs of elements that lie one after another both in the whole weight and in a slice of it, in order; together they
    /// are the slice without its padding. A slice along dimension 0 is a single run.
    /// </summary>
    public IEnumerable<ElementRun> RunsOf(TensorSlice slice)
    {
        var inner = Shape.Skip(slice.Dimension + 1).Aggregate(1L, (product, length) => product * length);
        var outer = Shape.Take(slice.Dimension).Aggregate(1L, (product, length) => product * length);
        for (long row = 0; row < outer && slice.Length > 0; row++)
            yield return new ElementRun(
                ((row * Shape[slice.Dimension]) + slice.Start) * inner, row * slice.PaddedLength * inner, slice.Length * inner);
    }
}
