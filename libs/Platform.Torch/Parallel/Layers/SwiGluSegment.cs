using Platform.Torch.Kernels;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens, F inner size of this rank; gateUp [N, 2F] holds gate and up side by side.

/// <summary>The MLP's gated activation, <c>silu(gate)·up</c> (Shazeer 2020), differentiated by hand.</summary>
public static class SwiGluSegment
{
    /// <summary>Activates.</summary>
    /// <param name="gateUp_N2F">Gate and up; must stay unchanged until the backward.</param>
    /// <param name="tape">Where the input is kept; null when there will be no backward.</param>
    /// <returns>[N, F].</returns>
    public static Tensor Forward(Tensor gateUp_N2F, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(gateUp_N2F);
        tape?.Push(gateUp_N2F.alias());
        if (SwiGluKernel.Supports(gateUp_N2F))
            return SwiGluKernel.Forward(gateUp_N2F);
        var (gate, up) = Halves(gateUp_N2F);
        using (gate)
        using (up)
            return Ops.Silu(gate).mul_(up);
    }

    /// <summary>Gradient of gate and up, from that of the result.</summary>
    public static Tensor Backward(Tensor gradient_NF, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(gradient_NF);
        ArgumentNullException.ThrowIfNull(tape);
        var gateUp = tape.Pop();
        if (SwiGluKernel.Supports(gateUp) && gradient_NF.is_contiguous())
            return SwiGluKernel.Backward(gradient_NF, gateUp);
        var result = gateUp.empty_like();
        var (gate, up) = Halves(gateUp);
        var (gateGradient, upGradient) = Halves(result);
        using (gate)
        using (up)
        using (gateGradient)
        using (upGradient)
        {
            using var activated = Ops.Silu(gate);
            upGradient.copy_(activated.mul_(gradient_NF));
            using var product = gradient_NF * up;
            using var chained = Ops.SiluBackward(product, gate);
            gateGradient.copy_(chained);
        }

        return result;
    }

    private static (Tensor Gate, Tensor Up) Halves(Tensor x_N2F)
    {
        var width = x_N2F.shape[1] / 2;
        return (x_N2F.narrow(1, 0, width), x_N2F.narrow(1, width, width));
    }
}
