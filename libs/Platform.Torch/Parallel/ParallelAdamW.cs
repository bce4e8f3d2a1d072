using Platform.Torch.Parallel.Parameters;
using TorchSharp;

namespace Platform.Torch.Parallel;

/// <summary>Constants of the optimizer.</summary>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Added to the root of the second moment.</param>
/// <param name="WeightDecay">Decoupled decay, on matrices only.</param>
/// <param name="GradientClip">Largest norm of the whole gradient; 0 for no clipping.</param>
public readonly record struct AdamWSettings(double Beta1, double Beta2, double Epsilon, double WeightDecay, double GradientClip);

/// <summary>Updates the weights that a rank keeps the masters of.</summary>
/// <param name="store">The rank's tensors.</param>
/// <param name="settings">Constants.</param>
public sealed class ParallelAdamW(ParameterStore store, AdamWSettings settings) : IParallelOptimizer
{
    /// <inheritdoc/>
    public void Update(int update, double learningRate, double gradientNorm)
    {
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        GradientClipping.Clip(store, settings.GradientClip, gradientNorm);
        Update(store.Units, unit => unit.Decayed, settings.WeightDecay, update, learningRate);
        Update(store.Units, unit => unit.NotDecayed, 0, update, learningRate);
        store.ZeroGradients();
        store.PublishMasters();
    }

    /// <summary>Updates a part of some units and leaves gradients and weights as they are.</summary>
    internal void Update(
        IEnumerable<UnitMemory> units, Func<ParameterUnit, ElementRange> part, double decay, int update, double learningRate)
    {
        var ranges = units.Select(memory => (Memory: memory, Range: part(memory.Unit).Intersect(memory.Kept)))
            .Where(entry => entry.Range.Count > 0).ToList();
        if (ranges.Count == 0)
            return;
        var count = torch.tensor((float)update);
        Ops.FusedAdamWInPlace(
            Views(StateKind.Master), Views(StateKind.Gradient), Views(StateKind.FirstMoment), Views(StateKind.SecondMoment),
            [.. ranges.Select(_ => count)], new AdamWStep(learningRate, settings.Beta1, settings.Beta2, decay, settings.Epsilon));

        torch.Tensor[] Views(StateKind kind) => [.. ranges.Select(entry => entry.Memory.View(kind, entry.Range))];
    }
}

/// <summary>Scales gradients down to a largest norm.</summary>
internal static class GradientClipping
{
    public static void Clip(ParameterStore store, double largest, double gradientNorm)
    {
        if (largest <= 0 || gradientNorm <= largest)
            return;
        using var factor = torch.tensor(largest / gradientNorm, dtype: store.Types.Master);
        foreach (var memory in store.Units)
            memory.GradientSum.mul_(factor);
    }
}
