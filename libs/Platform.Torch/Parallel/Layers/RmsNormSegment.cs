using Platform.Torch.Kernels;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

/// <summary>
/// Root-mean-square norm. Every rank of a tensor group computes it on the same rows, so that its weight's gradient is whole
/// and the same on all of them; or on rows of its own, so that the gradient is a sum over them, formed at the end of the step.
/// </summary>
/// <param name="weight_E">Weight.</param>
/// <param name="weightGradient_E">Gradient of the weight, added to, in the master type; null when it is frozen.</param>
/// <param name="epsilon">Added to the mean square.</param>
public sealed class RmsNormSegment(Tensor weight_E, Tensor? weightGradient_E, double epsilon)
{
    /// <summary>Normalises each row.</summary>
    /// <param name="x_NE">Input; must stay unchanged until the backward.</param>
    /// <param name="tape">Where the graph is kept; null when there will be no backward.</param>
    public Tensor Forward(Tensor x_NE, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(x_NE);
        if (UsesKernel(x_NE))
        {
            var rows = x_NE.contiguous();
            var (normalised, scales) = RmsNormKernel.Forward(rows, weight_E, epsilon);
            if (tape is null)
            {
                scales.Dispose();
                return normalised;
            }

            tape.Push(rows.alias());
            tape.Push(scales);
            return normalised;
        }

        if (tape is null)
            return Ops.RmsNorm(x_NE, weight_E, epsilon);
        using var recording = torch.enable_grad();
        var x = x_NE.detach().requires_grad_();
        var weight = weight_E.detach().requires_grad_();
        var result = Ops.RmsNorm(x, weight, epsilon);
        tape.Push(x);
        tape.Push(weight);
        tape.Push(result);
        return result.detach();
    }

    /// <summary>Adds to the weight's gradient and returns the input's.</summary>
    public Tensor Backward(Tensor gradient_NE, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(gradient_NE);
        ArgumentNullException.ThrowIfNull(tape);
        if (UsesKernel(gradient_NE))
        {
            var (scales, input) = (tape.Pop(), tape.Pop());
            return RmsNormKernel.Backward(gradient_NE.contiguous(), input, weight_E, scales, weightGradient_E);
        }

        var (result, weight, x) = (tape.Pop(), tape.Pop(), tape.Pop());
        var gradients = torch.autograd.grad([result], [x, weight], [gradient_NE]);
        weightGradient_E?.AddInPlace(gradients[1]);
        gradients[1].Dispose();
        return gradients[0];
    }

    private bool UsesKernel(Tensor rows) =>
        RmsNormKernel.Supports(rows) && (weightGradient_E is null || weightGradient_E.dtype == torch.ScalarType.Float32);
}
