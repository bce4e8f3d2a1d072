using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>
/// Where a unit's elements lie on this rank. Every tensor is a flat view into the store's memory and owned by the store.
/// </summary>
/// <param name="Unit">The unit.</param>
/// <param name="Shard">The elements that this rank's data group has divided off to it, of the unit; the norm counts them.</param>
/// <param name="Kept">The elements whose master, moments and sum of gradients are here: all, or the shard.</param>
/// <param name="SecondMomentKept">Those of them that have a second moment.</param>
/// <param name="WeightSlot">Units with the same slot share the memory of their weights and hold it in turn.</param>
/// <param name="GradientSlot">The same for the gradients that layers add to.</param>
/// <param name="Weights">Weights in the compute type, of the whole unit.</param>
/// <param name="WeightShard">What of the weights follows from <paramref name="Master"/>; lies in <paramref name="Weights"/> unless weights are sharded.</param>
/// <param name="Gradients">Gradients that layers add to, of the whole unit.</param>
/// <param name="GradientSum">Sum of gradients that the optimizer reads; lies in <paramref name="Gradients"/> unless gradients are sharded.</param>
/// <param name="Master">Master weights.</param>
/// <param name="FirstMoment">First moments, or momentum.</param>
/// <param name="SecondMoment">Second moments.</param>
public sealed record UnitMemory(
    ParameterUnit Unit, ElementRange Shard, ElementRange Kept, ElementRange SecondMomentKept, int WeightSlot, int GradientSlot,
    Tensor Weights, Tensor WeightShard, Tensor Gradients, Tensor GradientSum, Tensor Master, Tensor FirstMoment, Tensor SecondMoment)
{
    /// <summary>The tensor of a kind and the elements of the unit that it holds.</summary>
    public (Tensor Elements, ElementRange Range) Of(StateKind kind) => kind switch
    {
        StateKind.Master => (Master, Kept),
        StateKind.FirstMoment => (FirstMoment, Kept),
        StateKind.SecondMoment => (SecondMoment, SecondMomentKept),
        StateKind.Gradient => (GradientSum, Kept),
        _ => throw new ArgumentOutOfRangeException(nameof(kind)),
    };

    /// <summary>A view of elements of a kind; the caller disposes it.</summary>
    /// <param name="kind">Which tensor.</param>
    /// <param name="range">Elements that it holds, counted from the unit's first.</param>
    public Tensor View(StateKind kind, ElementRange range)
    {
        var (elements, held) = Of(kind);
        return elements.narrow(0, range.Start - held.Start, range.Count);
    }
}
