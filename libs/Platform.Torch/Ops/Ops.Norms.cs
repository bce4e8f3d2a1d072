using Platform.Torch.Native;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch;

/// <summary>
/// ATen operators that TorchSharp lacks or restricts, called through libtorch's own dispatcher. Every method checks types,
/// shapes and devices first and throws <see cref="ArgumentException"/>; results belong to the caller's dispose scope; autograd
/// is recorded as for TorchSharp's own operators, except where a method says that it changes its arguments in place.
/// </summary>
public static partial class Ops
{
    /// <summary>
    /// Root-mean-square normalisation over the last dimension: <c>x / sqrt(mean(x²) + epsilon) · weight</c>
    /// (Zhang and Sennrich 2019, equation 4). Computed in fp32 for 16-bit inputs.
    /// </summary>
    /// <param name="input">Floating-point tensor [..., H].</param>
    /// <param name="weight">Tensor [H] of the same type and device.</param>
    /// <param name="epsilon">Added to the mean square; positive.</param>
    /// <returns>Tensor of the input's shape and type.</returns>
    public static Tensor RmsNorm(Tensor input, Tensor weight, double epsilon)
    {
        TensorArgument.Floating(input, nameof(input));
        TensorArgument.Floating(weight, nameof(weight));
        TensorArgument.Dimensions(weight, 1, nameof(weight));
        TensorArgument.SameType(weight, input, nameof(weight));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(epsilon);
        var width = input.dim() > 0 ? input.shape[^1] : 0;
        if (width == 0 || weight.shape[0] != width)
            throw new ArgumentException(
                $"Expected {width} weights for input {TensorArgument.Shape(input)}, found {TensorArgument.Shape(weight)}.", nameof(weight));

        using var call = new Dispatcher();
        call.Add(input);
        call.Add([width]);
        call.AddOptional(weight);
        call.AddOptional(epsilon);
        return call.ReturnTensor("aten::rms_norm\0"u8, "\0"u8);
    }

    /// <summary>The sigmoid linear unit, <c>x · sigmoid(x)</c>, element by element.</summary>
    /// <param name="input">Floating-point tensor.</param>
    public static Tensor Silu(Tensor input)
    {
        TensorArgument.Floating(input, nameof(input));
        using var call = new Dispatcher();
        call.Add(input);
        return call.ReturnTensor("aten::silu\0"u8, "\0"u8);
    }

    /// <summary>The derivative of <see cref="Silu"/> times a gradient, in one pass.</summary>
    /// <param name="gradient">Gradient with respect to the output; shape and type of <paramref name="input"/>.</param>
    /// <param name="input">What <see cref="Silu"/> was applied to.</param>
    public static Tensor SiluBackward(Tensor gradient, Tensor input)
    {
        TensorArgument.Floating(input, nameof(input));
        TensorArgument.Floating(gradient, nameof(gradient));
        TensorArgument.SameType(gradient, input, nameof(gradient));
        TensorArgument.SameShape(gradient, input, nameof(gradient));
        using var call = new Dispatcher();
        call.Add(gradient);
        call.Add(input);
        return call.ReturnTensor("aten::silu_backward\0"u8, "\0"u8);
    }
}
