using Platform.Torch.Collectives;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens of a micro-batch; R rows of the residual stream on this rank: N, or N / t with sequence parallelism.

/// <summary>
/// The boundary between the residual stream and the layers whose matrices a tensor group shares. Without sequence parallelism
/// every rank has the whole stream, and what leaves the layers is summed by an all-reduce. With it each rank has an equal run
/// of the tokens: they are gathered before the layers and the sum is scattered after them, at the same volume (Korthikanti et
/// al. 2022, section 4.2.2). Gradients pass the same two ways in reverse.
/// </summary>
/// <param name="group">Tensor group.</param>
/// <param name="splitsTokens">Whether the residual stream is divided by tokens.</param>
public sealed class TensorParallelRegion(ICollectiveGroup group, bool splitsTokens)
{
    /// <summary>Tensor group.</summary>
    public ICollectiveGroup Group { get; } = group;

    /// <summary>Whether each rank has its own tokens of the residual stream.</summary>
    public bool SplitsTokens { get; } = splitsTokens && group.Size > 1;

    /// <summary>Rows of the residual stream on this rank.</summary>
    /// <param name="tokens">N.</param>
    /// <exception cref="ArgumentException">The tokens do not divide among the ranks.</exception>
    public long RowsOf(long tokens)
    {
        if (!SplitsTokens)
            return tokens;
        if (tokens % Group.Size != 0)
            throw new ArgumentException($"{tokens} tokens cannot be shared evenly by the {Group.Size} ranks of {Group.Name}.", nameof(tokens));
        return tokens / Group.Size;
    }

    /// <summary>All tokens' rows, from each rank's.</summary>
    /// <param name="rows_RE">This rank's rows, contiguous.</param>
    /// <returns>[N, E]; a handle of the caller's own in either case.</returns>
    public Tensor Gather(Tensor rows_RE)
    {
        ArgumentNullException.ThrowIfNull(rows_RE);
        if (!SplitsTokens)
            return rows_RE.alias();
        var whole = torch.empty([rows_RE.shape[0] * Group.Size, rows_RE.shape[1]], dtype: rows_RE.dtype, device: rows_RE.device);
        Group.AllGather(rows_RE, whole);
        return whole;
    }

    /// <summary>This rank's rows of the sum over the group.</summary>
    /// <param name="part_NE">This rank's part of the sum, contiguous; used up, so not to be read afterwards.</param>
    /// <returns>[R, E]; the same tensor if every rank keeps all rows.</returns>
    public Tensor Sum(Tensor part_NE)
    {
        ArgumentNullException.ThrowIfNull(part_NE);
        if (!SplitsTokens)
        {
            Group.AllReduceSum(part_NE);
            return part_NE;
        }

        using (part_NE)
        {
            var rows = torch.empty([RowsOf(part_NE.shape[0]), part_NE.shape[1]], dtype: part_NE.dtype, device: part_NE.device);
            Group.ReduceScatterSum(part_NE, rows);
            return rows;
        }
    }
}
