using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens of a micro-batch, R of them on this rank, I inputs, O outputs of this rank.

/// <summary>
/// <c>y = x·Wᵀ + b</c> where each rank of the tensor group has its share of the outputs (Shoeybi et al. 2019, section 3). The
/// input is the same on all ranks, or gathered from them; its gradient is a sum over them, which the backward forms. What is
/// kept for the backward is the rank's own rows, which it gathers again.
/// </summary>
/// <param name="region">Where activations enter the tensor group.</param>
/// <param name="weight_OI">Weight.</param>
/// <param name="weightGradient_OI">Gradient of the weight, added to, in the master type; null when it is frozen.</param>
/// <param name="bias_O">Bias, or null.</param>
/// <param name="biasGradient_O">Gradient of the bias, added to; null without one or when it is frozen.</param>
/// <param name="adapter">What is added to the product, or null.</param>
public sealed class ColumnParallelLinear(
    TensorParallelRegion region, Tensor weight_OI, Tensor? weightGradient_OI, Tensor? bias_O = null, Tensor? biasGradient_O = null,
    LinearAdapter? adapter = null)
{
    /// <summary>The rank's outputs.</summary>
    /// <param name="x_RI">The rank's rows of the input; must stay unchanged until the backward.</param>
    /// <param name="tape">Where the input is kept; null when there will be no backward.</param>
    /// <returns>[N, O].</returns>
    public Tensor Forward(Tensor x_RI, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(x_RI);
        ArgumentNullException.ThrowIfNull(region);
        tape?.Push(x_RI.alias());
        using var x_NI = region.Gather(x_RI);
        var output = torch.nn.functional.linear(x_NI, weight_OI, bias_O);
        adapter?.AddTo(output, x_NI);
        return output;
    }

    /// <summary>Adds to the gradients of weight and bias and returns that of the input.</summary>
    /// <param name="gradient_NO">Gradient of the rank's outputs.</param>
    /// <param name="tape">The forward's tape.</param>
    /// <returns>[R, I], the rank's rows of the sum over the group.</returns>
    public Tensor Backward(Tensor gradient_NO, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(tape);
        using var x = region.Gather(tape.Pop());
        if (weightGradient_OI is not null)
            LinearGradients.AddWeight(weightGradient_OI, gradient_NO, x);
        if (biasGradient_O is not null)
            LinearGradients.AddBias(biasGradient_O, gradient_NO);
        var input = gradient_NO.mm(weight_OI);
        adapter?.Backward(gradient_NO, x, input);
        return region.Sum(input);
    }
}
