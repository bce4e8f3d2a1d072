using Platform.Torch.Parallel.Parameters;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;

namespace Platform.Torch.Parallel;

/// <summary>Constants of the optimizer.</summary>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Added to the root of the second moment.</param>
/// <param name="WeightDecay">Decoupled decay, on matrices only.</param>
/// <param name="GradientClip">Largest norm of the whole gradient; 0 for no clipping.</param>
public readonly record struct AdamWSettings(double Beta1, double Beta2, double Epsilon, double WeightDecay, double GradientClip);

/// <summary>Reduces a rank's gradients over the mesh and updates its weights.</summary>
/// <param name="groups">The rank's groups.</param>
/// <param name="store">Its tensors.</param>
/// <param name="settings">Constants.</param>
public sealed class ParallelAdamW(ParallelGroups groups, ParameterStore store, AdamWSettings settings)
{
    private const long BucketElements = 4 << 20;

    /// <summary>
    /// Sums the gradients over the data group, a tied embedding's over the ends of the pipeline, and those of which each rank
    /// of a tensor group has a part over that group, in fixed order.
    /// </summary>
    public void ReduceGradients()
    {
        if (groups.TiedEmbedding is { } ends && store.Find(BundleRole.Embedding, null).Gradient is { } embedding)
            ends.AllReduceSum(embedding);
        foreach (var parameter in store.Trained.Where(parameter => parameter.Bundle.HasPartialGradient))
            groups.Tensor.AllReduceSum(GradientOf(parameter));
        groups.Data.AllReduceSumInBuckets(store.Gradient, BucketElements);
    }

    /// <summary>
    /// This rank's contribution to the squared norm of the whole gradient: elements that several ranks hold are counted by one
    /// of them, so the sum over all ranks counts each weight of the model once.
    /// </summary>
    public double SquaredNormShare()
    {
        if (groups.Coordinate.Data != 0)
            return 0;
        using var withoutGradients = torch.no_grad();
        double sum = 0;
        foreach (var (start, count) in OwnedRanges())
        {
            for (var done = 0L; done < count; done += BucketElements)
            {
                using var part = store.Gradient.narrow(0, start + done, Math.Min(BucketElements, count - done));
                using var exact = part.to_type(ScalarType.Float64);
                using var dot = exact.dot(exact);
                sum += dot.item<double>();
            }
        }

        return sum;
    }

    /// <summary>Clips by the norm of the whole gradient, updates masters and weights, and sets the gradients to zero.</summary>
    /// <param name="step">Number of this update, from 1.</param>
    /// <param name="learningRate">Learning rate.</param>
    /// <param name="gradientNorm">Norm of the whole gradient.</param>
    public void Update(int step, double learningRate, double gradientNorm)
    {
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        if (settings.GradientClip > 0 && gradientNorm > settings.GradientClip)
            store.Gradient.mul_(torch.tensor(settings.GradientClip / gradientNorm, dtype: store.Types.Master));
        var count = torch.tensor((float)step);
        Range(0, store.DecayedElements, settings.WeightDecay);
        Range(store.DecayedElements, store.Master.shape[0] - store.DecayedElements, 0);
        store.Gradient.zero_();
        store.PublishMasters();

        void Range(long start, long length, double decay)
        {
            if (length == 0)
                return;
            Ops.FusedAdamWInPlace(
                [store.Master.narrow(0, start, length)], [store.Gradient.narrow(0, start, length)],
                [store.FirstMoment.narrow(0, start, length)], [store.SecondMoment.narrow(0, start, length)], [count],
                new AdamWStep(learningRate, settings.Beta1, settings.Beta2, decay, settings.Epsilon));
        }
    }

    private static torch.Tensor GradientOf(StoredParameter parameter) =>
        parameter.Gradient ?? throw new InvalidOperationException($"{parameter.Bundle.Role} is trained and has no gradient.");

    /// <summary>Ranges of the flat gradient that this rank counts, neighbours joined.</summary>
    private IEnumerable<(long Start, long Count)> OwnedRanges()
    {
        (long Start, long Count) range = (0, 0);
        foreach (var parameter in store.Trained.Where(parameter => store.Layout.Owns(parameter.Bundle)))
        {
            var gap = parameter.Offset - (range.Start + range.Count);
            if (gap is >= 0 and < 32)
            {
                range.Count += gap + parameter.Bundle.ElementCount;
                continue;
            }

            if (range.Count > 0)
                yield return range;
            range = (parameter.Offset, parameter.Bundle.ElementCount);
        }

        if (range.Count > 0)
            yield return range;
    }
}
