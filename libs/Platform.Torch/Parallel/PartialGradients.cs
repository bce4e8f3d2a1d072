using Platform.Torch.Collectives;
using Platform.Torch.Parallel.Parameters;
using TorchSharp;

namespace Platform.Torch.Parallel;

/// <summary>Gradients of weights that every rank of a tensor group has, but of which each sees only its tokens or heads.</summary>
public static class PartialGradients
{
    /// <summary>
    /// Replaces what this rank keeps of these gradients' sums by their sum over the tensor group, in one reduction: they are
    /// many and small. The ranks of a tensor group keep the same elements of them.
    /// </summary>
    /// <param name="tensorGroup">Tensor group.</param>
    /// <param name="store">The rank's tensors.</param>
    public static void Sum(ICollectiveGroup tensorGroup, ParameterStore store)
    {
        ArgumentNullException.ThrowIfNull(tensorGroup);
        ArgumentNullException.ThrowIfNull(store);
        if (tensorGroup.Size == 1)
            return;
        using var scope = torch.NewDisposeScope();
        using var withoutGradients = torch.no_grad();
        var parts = (
            from memory in store.Units
            from entry in memory.Unit.Entries
            where entry.Bundle.HasPartialGradient
            let range = new ElementRange(entry.Offset, entry.Bundle.ElementCount).Intersect(memory.Kept)
            where range.Count > 0
            select memory.View(StateKind.Gradient, range)).ToList();
        if (parts.Count == 0)
            return;
        var sum = torch.cat(parts);
        tensorGroup.AllReduceSum(sum);
        var start = 0L;
        foreach (var part in parts)
        {
            part.copy_(sum.narrow(0, start, part.numel()));
            start += part.numel();
        }
    }
}
