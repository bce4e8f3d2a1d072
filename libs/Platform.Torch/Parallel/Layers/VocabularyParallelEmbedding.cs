using Platform.Torch.Collectives;
using Platform.Torch.Models.Llama;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens, V rows of this rank, padding included, E hidden size.

/// <summary>
/// Token embedding where each rank of the tensor group has its share of the vocabulary: a token's row comes from the one rank
/// that has it, the others contribute zeros to a sum.
/// </summary>
/// <param name="group">Tensor group.</param>
/// <param name="weight_VE">The rank's rows.</param>
/// <param name="weightGradient_VE">Their gradient, added to, in the master type; null when they are frozen.</param>
/// <param name="slice">Which rows of the vocabulary they are.</param>
public sealed class VocabularyParallelEmbedding(ICollectiveGroup group, Tensor weight_VE, Tensor? weightGradient_VE, TensorSlice slice)
{
    /// <summary>Looks tokens up.</summary>
    /// <param name="tokens_N">Int64 ids.</param>
    /// <param name="tape">Where the ids are kept; null when there will be no backward.</param>
    /// <returns>[N, E], the same on every rank.</returns>
    public Tensor Forward(Tensor tokens_N, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(tokens_N);
        ArgumentNullException.ThrowIfNull(group);
        tape?.Push(tokens_N.alias());
        if (group.Size == 1)
            return weight_VE.index_select(0, tokens_N);
        var (rows, mine) = VocabularyShare.Locate(tokens_N, slice, weight_VE.dtype);
        var result = weight_VE.index_select(0, rows).mul_(mine.unsqueeze(1));
        group.AllReduceSum(result);
        return result;
    }

    /// <summary>Adds to the gradient of the rows.</summary>
    /// <param name="gradient_NE">Gradient of the result.</param>
    /// <param name="tape">The forward's tape.</param>
    public void Backward(Tensor gradient_NE, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(gradient_NE);
        ArgumentNullException.ThrowIfNull(tape);
        var tokens = tape.Pop();
        if (weightGradient_VE is null)
            return;
        var gradient = gradient_NE.to_type(weightGradient_VE.dtype);
        if (group.Size == 1)
        {
            weightGradient_VE.index_add_(0, tokens, gradient, 1);
            return;
        }

        var (rows, mine) = VocabularyShare.Locate(tokens, slice, gradient.dtype);
        weightGradient_VE.index_add_(0, rows, gradient * mine.unsqueeze(1), 1);
    }
}

/// <summary>Finds tokens in a rank's share of the vocabulary.</summary>
internal static class VocabularyShare
{
    /// <summary>Row of each token in the share, 0 for those that are not in it, and 1 or 0 for whether it is.</summary>
    public static (Tensor Rows_N, Tensor IsMine_N) Locate(Tensor tokens_N, TensorSlice slice, torch.ScalarType type)
    {
        var rows = tokens_N - slice.Start;
        var mine = rows.ge(0).logical_and_(rows.lt(slice.Length));
        return (rows.mul_(mine), mine.to_type(type));
    }
}
