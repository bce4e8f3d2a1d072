using Platform.Torch.Models.Llama;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens, R of them on this rank, V rows of this rank, padding included, E hidden size.

/// <summary>
/// Token embedding where each rank of the tensor group has its share of the vocabulary: a token's row comes from the one rank
/// that has it, the others contribute zeros to a sum.
/// </summary>
/// <param name="region">Where activations leave the tensor group.</param>
/// <param name="weight_VE">The rank's rows.</param>
/// <param name="weightGradient_VE">Their gradient, added to, in the master type; null when they are frozen.</param>
/// <param name="slice">Which rows of the vocabulary they are.</param>
public sealed class VocabularyParallelEmbedding(TensorParallelRegion region, Tensor weight_VE, Tensor? weightGradient_VE, TensorSlice slice)
{
    /// <summary>Looks tokens up.</summary>
    /// <param name="tokens_N">Int64 ids.</param>
    /// <param name="tape">Where the ids are kept; null when there will be no backward.</param>
    /// <returns>[R, E]: the rank's rows of the residual stream.</returns>
    public Tensor Forward(Tensor tokens_N, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(tokens_N);
        ArgumentNullException.ThrowIfNull(region);
        tape?.Push(tokens_N.alias());
        if (region.Group.Size == 1)
            return weight_VE.index_select(0, tokens_N);
        var (rows, mine) = VocabularyShare.Locate(tokens_N, slice, weight_VE.dtype);
        return region.Sum(weight_VE.index_select(0, rows).mul_(mine.unsqueeze(1)));
    }

    /// <summary>Adds to the gradient of the rows.</summary>
    /// <param name="gradient_RE">The rank's rows of the gradient of the result.</param>
    /// <param name="tape">The forward's tape.</param>
    public void Backward(Tensor gradient_RE, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(gradient_RE);
        ArgumentNullException.ThrowIfNull(tape);
        var tokens = tape.Pop();
        if (weightGradient_VE is null)
            return;
        using var gradient_NE = region.Gather(gradient_RE);
        var gradient = gradient_NE.to_type(weightGradient_VE.dtype);
        if (region.Group.Size == 1)
        {
            weightGradient_VE.AddRowsInPlace(tokens, gradient);
            return;
        }

        var (rows, mine) = VocabularyShare.Locate(tokens, slice, gradient.dtype);
        weightGradient_VE.AddRowsInPlace(rows, gradient * mine.unsqueeze(1));
    }
}

/// <summary>Finds tokens in a rank's share of the vocabulary.</summary>
internal static class VocabularyShare
{
    /// <summary>Row of each token in the share, 0 for those that are not in it, and 1 or 0 for whether it is.</summary>
    public static (Tensor Rows_N, Tensor IsMine_N) Locate(Tensor tokens_N, TensorSlice slice, torch.ScalarType type)
    {
        var rows = tokens_N.Minus(slice.Start);
        var mine = rows.IsAtLeast(0).logical_and_(rows.IsBelow(slice.Length));
        return (rows.mul_(mine), mine.to_type(type));
    }
}
