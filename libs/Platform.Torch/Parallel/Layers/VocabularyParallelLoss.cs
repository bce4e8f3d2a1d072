using Platform.Torch.Kernels;
using Platform.Torch.Models.Llama;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens, R of them on this rank, V rows of this rank, padding excluded, E hidden size.

/// <summary>
/// Head and cross-entropy in one, each rank of the tensor group with its share of the vocabulary, differentiated by hand
/// (Shoeybi et al. 2019, section 3): ranks exchange the largest logit, the sum of exponentials and the target's logit of each
/// token, never the logits. Softmax and sums are formed in the master type. The gradient is formed along with the loss, so the
/// logits live no longer than one call. A token whose target is negative (<see cref="MaskedTarget"/>) has neither loss nor
/// gradient.
/// </summary>
/// <remarks>
/// With a z-loss, what is differentiated has for each token the square of its log-sum-exp of logits, times a coefficient, besides
/// the cross-entropy: it keeps logits from drifting (Chowdhery et al. 2022, "PaLM", section 5). The loss that is returned is the
/// cross-entropy alone.
/// </remarks>
/// <param name="region">Where activations enter the tensor group.</param>
/// <param name="weight_VE">The rank's rows of the head, padding included.</param>
/// <param name="weightGradient_VE">Their gradient, added to, in the master type; null when they are frozen.</param>
/// <param name="slice">Which rows of the vocabulary they are.</param>
/// <param name="type">The master type.</param>
/// <param name="zLossCoefficient">Weight of the z-loss; 0 for none.</param>
public sealed class VocabularyParallelLoss(
    TensorParallelRegion region, Tensor weight_VE, Tensor? weightGradient_VE, TensorSlice slice, ScalarType type,
    double zLossCoefficient = 0)
{
    /// <summary>Target of a token that does not count.</summary>
    public const long MaskedTarget = -100;

    /// <summary>Loss only.</summary>
    /// <param name="x_RE">The rank's rows of the normalised hidden states.</param>
    /// <param name="targets_N">Int64 id of each token's successor.</param>
    /// <returns>Cross-entropy of each token in nats [N], in the master type, the same on every rank.</returns>
    public Tensor Evaluate(Tensor x_RE, Tensor targets_N) => Run(x_RE, targets_N, null).Loss_N;

    /// <summary>Loss and its gradient; adds to the gradient of the head.</summary>
    /// <param name="x_RE">The rank's rows of the normalised hidden states.</param>
    /// <param name="targets_N">Int64 id of each token's successor.</param>
    /// <param name="scale">Weight of a token's loss in what is differentiated: 1 / tokens of the global batch for a mean.</param>
    /// <returns>Cross-entropy of each token [N] in the master type, and the gradient of <paramref name="x_RE"/>, summed over the group.</returns>
    public (Tensor Loss_N, Tensor Gradient_RE) Differentiate(Tensor x_RE, Tensor targets_N, double scale)
    {
        var (loss, gradient) = Run(x_RE, targets_N, scale);
        return (loss, gradient ?? throw new InvalidOperationException("A scale gives a gradient."));
    }

    private (Tensor Loss_N, Tensor? Gradient_RE) Run(Tensor x_RE, Tensor targets_N, double? scale)
    {
        ArgumentNullException.ThrowIfNull(x_RE);
        ArgumentNullException.ThrowIfNull(targets_N);
        using var scope = torch.NewDisposeScope();
        var x_NE = region.Gather(x_RE);
        var weight = weight_VE.narrow(0, 0, slice.Length);
        var logits = torch.nn.functional.linear(x_NE, weight);
        if (type == ScalarType.Float32 && CrossEntropyKernel.Supports(logits))
            return RunKernel(x_NE, targets_N, weight, logits, scale);
        logits = logits.to_type(type);

        // A rank whose share is all padding has no logits; it takes part in the exchange with neutral values.
        var isEmpty = slice.Length == 0;
        var largest = isEmpty ? TensorNumbers.Filled([x_NE.shape[0]], double.NegativeInfinity, type, x_NE.device) : logits.amax([1]);
        region.Group.AllReduceMax(largest);
        logits.sub_(largest.unsqueeze(1));
        var (rows, mine) = VocabularyShare.Locate(targets_N, slice, type);
        var statistics = torch.zeros([2, x_NE.shape[0]], dtype: type);
        if (!isEmpty)
            statistics[1].copy_(logits.gather(1, rows.unsqueeze(1)).squeeze(1).mul_(mine));
        logits.exp_();
        statistics[0].copy_(logits.sum(1));
        region.Group.AllReduceSum(statistics);
        var counts = targets_N.IsAtLeast(0).to_type(type);
        var loss = statistics[0].log().sub_(statistics[1]).mul_(counts).MoveToOuterDisposeScope();
        if (scale is not { } factor)
            return (loss, null);

        logits.mul_(TotalsOf(largest, statistics[0]).Under(factor).mul_(counts).unsqueeze(1));
        if (!isEmpty)
            logits.scatter_add_(1, rows.unsqueeze(1), mine.Times(-factor).unsqueeze(1));
        var logitGradient = logits.to_type(x_NE.dtype);
        if (!isEmpty && weightGradient_VE is not null)
            LinearGradients.AddWeight(weightGradient_VE.narrow(0, 0, slice.Length), logitGradient, x_NE);
        return (loss, region.Sum(logitGradient.mm(weight)).MoveToOuterDisposeScope());
    }

    /// <summary>
    /// The same with the logits in their own type. Each rank's sums are relative to its own largest logit until the group's is
    /// known, so one pass forms both.
    /// </summary>
    private (Tensor Loss_N, Tensor? Gradient_RE) RunKernel(Tensor x_NE, Tensor targets_N, Tensor weight, Tensor logits, double? scale)
    {
        var (mineLargest, mineSum) = CrossEntropyKernel.Statistics(logits);
        var largest = mineLargest.clone();
        region.Group.AllReduceMax(largest);
        var (rows, mine) = VocabularyShare.Locate(targets_N, slice, ScalarType.Float32);
        var statistics = torch.empty([2, targets_N.shape[0]], dtype: ScalarType.Float32);
        statistics[0].copy_(mineSum.mul_(mineLargest.sub_(largest).exp_()));
        statistics[1].copy_(logits.gather(1, rows.unsqueeze(1)).squeeze(1).to_type(ScalarType.Float32).sub_(largest).mul_(mine));
        region.Group.AllReduceSum(statistics);
        var loss = statistics[0].log().sub_(statistics[1]).mul_(targets_N.IsAtLeast(0).to_type(type)).MoveToOuterDisposeScope();
        if (scale is not { } factor)
            return (loss, null);

        CrossEntropyKernel.Differentiate(logits, largest, TotalsOf(largest, statistics[0]), targets_N, slice.Start, factor);
        if (weightGradient_VE is not null)
            LinearGradients.AddWeight(weightGradient_VE.narrow(0, 0, slice.Length), logits, x_NE);
        return (loss, region.Sum(logits.mm(weight)).MoveToOuterDisposeScope());
    }

    /// <summary>
    /// What exponentials are divided by in the gradient. With z = log Σ exp(logits), the derivative of CE + c·z² is
    /// (1 + 2·c·z)·softmax − onehot.
    /// </summary>
    private Tensor TotalsOf(Tensor largest_N, Tensor sum_N) => zLossCoefficient == 0
        ? sum_N
        : sum_N / sum_N.log().AddInPlace(largest_N).MultiplyInPlace(2 * zLossCoefficient).AddInPlace(1);
}
