using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens of a micro-batch, R of them on this rank, I inputs of this rank, O outputs.

/// <summary>
/// <c>y = x·Wᵀ</c> where each rank of the tensor group has its share of the inputs (Shoeybi et al. 2019, section 3). The output
/// is a sum over the ranks, which the forward forms; the output's gradient is the same on all ranks, or gathered from them.
/// </summary>
/// <param name="region">Where activations leave the tensor group.</param>
/// <param name="weight_OI">Weight.</param>
/// <param name="weightGradient_OI">Gradient of the weight, added to, in the master type; null when it is frozen.</param>
/// <param name="adapter">What is added to the product, or null.</param>
public sealed class RowParallelLinear(TensorParallelRegion region, Tensor weight_OI, Tensor? weightGradient_OI, LinearAdapter? adapter = null)
{
    /// <summary>The whole output.</summary>
    /// <param name="x_NI">The rank's inputs; must stay unchanged until the backward.</param>
    /// <param name="tape">Where the input is kept; null when there will be no backward.</param>
    /// <returns>[R, O]: the rank's rows of the output.</returns>
    public Tensor Forward(Tensor x_NI, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(x_NI);
        ArgumentNullException.ThrowIfNull(region);
        tape?.Push(x_NI.alias());
        var output = torch.nn.functional.linear(x_NI, weight_OI);
        adapter?.AddTo(output, x_NI);
        return region.Sum(output);
    }

    /// <summary>Adds to the gradient of the weight and returns that of the rank's inputs.</summary>
    /// <param name="gradient_RO">The rank's rows of the gradient of the output.</param>
    /// <param name="tape">The forward's tape.</param>
    /// <returns>[N, I].</returns>
    public Tensor Backward(Tensor gradient_RO, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(tape);
        using var gradient_NO = region.Gather(gradient_RO);
        var x = tape.Pop();
        if (weightGradient_OI is not null)
            LinearGradients.AddWeight(weightGradient_OI, gradient_NO, x);
        var input = gradient_NO.mm(weight_OI);
        adapter?.Backward(gradient_NO, x, input);
        return input;
    }
}
