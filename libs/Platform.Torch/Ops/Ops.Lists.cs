using Platform.Torch.Native;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch;

/// <summary>Constants of one AdamW step (Loshchilov and Hutter 2019, algorithm 2).</summary>
/// <param name="LearningRate">Step size η.</param>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="WeightDecay">Decoupled decay λ: the weight is multiplied by 1 − ηλ first.</param>
/// <param name="Epsilon">Added to the root of the second moment.</param>
public readonly record struct AdamWStep(double LearningRate, double Beta1, double Beta2, double WeightDecay, double Epsilon);

public static partial class Ops
{
    /// <summary>
    /// Multiplies every tensor in place by one number held in a tensor. Not for tensors that autograd still needs.
    /// </summary>
    /// <param name="tensors">Floating-point tensors of one device; may be empty.</param>
    /// <param name="factor">A tensor of one element without dimensions, of the tensors' device.</param>
    public static void ForeachMultiplyInPlace(IReadOnlyList<Tensor> tensors, Tensor factor)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        TensorArgument.Floating(factor, nameof(factor));
        TensorArgument.Dimensions(factor, 0, nameof(factor));
        foreach (var tensor in tensors)
        {
            TensorArgument.Floating(tensor, nameof(tensors));
            TensorArgument.SameDevice(tensor, factor, nameof(tensors));
        }

        if (tensors.Count == 0)
            return;
        using var call = new Dispatcher();
        call.Add(tensors);
        call.Add(factor);
        call.ReturnNothing("aten::_foreach_mul_\0"u8, "Tensor\0"u8);
    }

    /// <summary>
    /// One AdamW update of many tensors, in place, in a single call. The tensors of position i in the lists belong together
    /// and have one shape; all lists share one type and device and their tensors are contiguous. No autograd is recorded.
    /// </summary>
    /// <param name="parameters">Weights, changed. Fp32 or fp64 masters keep small updates; 16-bit weights lose them.</param>
    /// <param name="gradients">Gradients of the weights.</param>
    /// <param name="firstMoments">Running mean of the gradients, changed; zeros before the first step.</param>
    /// <param name="secondMoments">Running mean of the squared gradients, changed; zeros before the first step.</param>
    /// <param name="steps">Number of this update for each tensor, counted from 1: fp32 tensors of one element without dimensions.</param>
    /// <param name="step">Constants of the update.</param>
    public static void FusedAdamWInPlace(
        IReadOnlyList<Tensor> parameters, IReadOnlyList<Tensor> gradients, IReadOnlyList<Tensor> firstMoments,
        IReadOnlyList<Tensor> secondMoments, IReadOnlyList<Tensor> steps, AdamWStep step)
    {
        CheckAdamW(parameters, gradients, firstMoments, secondMoments, steps, step);
        if (parameters.Count == 0)
            return;
        using var withoutGradients = TorchSharp.torch.no_grad();
        using var call = new Dispatcher();
        call.Add(parameters);
        call.Add(gradients);
        call.Add(firstMoments);
        call.Add(secondMoments);
        call.Add(Array.Empty<Tensor>()); // maxima, of the AMSGrad variant only
        call.Add(steps);
        call.Add(step.LearningRate);
        call.Add(step.Beta1);
        call.Add(step.Beta2);
        call.Add(step.WeightDecay);
        call.Add(step.Epsilon);
        call.Add(false); // amsgrad
        call.Add(false); // maximize
        call.AddOptional((Tensor?)null);
        call.AddOptional((Tensor?)null);
        call.ReturnNothing("aten::_fused_adamw_\0"u8, "\0"u8);
    }

    private static void CheckAdamW(
        IReadOnlyList<Tensor> parameters, IReadOnlyList<Tensor> gradients, IReadOnlyList<Tensor> firstMoments,
        IReadOnlyList<Tensor> secondMoments, IReadOnlyList<Tensor> steps, AdamWStep step)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        (IReadOnlyList<Tensor> Tensors, string Name)[] states =
        [
            (gradients, nameof(gradients)), (firstMoments, nameof(firstMoments)), (secondMoments, nameof(secondMoments)),
        ];
        foreach (var (tensors, name) in states)
        {
            ArgumentNullException.ThrowIfNull(tensors, name);
            TensorArgument.SameLength(tensors.Count, parameters.Count, name);
        }

        ArgumentNullException.ThrowIfNull(steps);
        TensorArgument.SameLength(steps.Count, parameters.Count, nameof(steps));
        if (step.Beta1 is < 0 or >= 1 || step.Beta2 is < 0 or >= 1 || !(step.Epsilon > 0) || !(step.WeightDecay >= 0)
            || !double.IsFinite(step.LearningRate))
            throw new ArgumentException($"Expected betas in [0, 1), a positive epsilon and no negative decay, found {step}.", nameof(step));

        for (var i = 0; i < parameters.Count; i++)
        {
            var parameter = parameters[i];
            TensorArgument.Floating(parameter, nameof(parameters));
            TensorArgument.SameType(parameter, parameters[0], nameof(parameters));
            Contiguous(parameter, nameof(parameters));
            foreach (var (tensors, name) in states)
            {
                ArgumentNullException.ThrowIfNull(tensors[i], name);
                TensorArgument.SameType(tensors[i], parameter, name);
                TensorArgument.SameShape(tensors[i], parameter, name);
                Contiguous(tensors[i], name);
            }

            ArgumentNullException.ThrowIfNull(steps[i], nameof(steps));
            if (steps[i].dtype != ScalarType.Float32 || steps[i].dim() != 0)
                throw new ArgumentException(
                    $"Expected a Float32 tensor without dimensions, found {steps[i].dtype} {TensorArgument.Shape(steps[i])}.", nameof(steps));
            TensorArgument.SameDevice(steps[i], parameter, nameof(steps));
        }
    }

    private static void Contiguous(Tensor tensor, string name)
    {
        if (!tensor.is_contiguous())
            throw new ArgumentException($"Expected a contiguous tensor, found strides over shape {TensorArgument.Shape(tensor)}.", name);
    }
}
