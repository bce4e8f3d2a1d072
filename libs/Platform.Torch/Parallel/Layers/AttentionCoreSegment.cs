using Platform.Torch.Kernels;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: B sequences of T tokens, N = B·T; H query and K key/value heads of this rank, D head size, P positions.

/// <summary>
/// Causal attention between the projections: rotation by hand (its gradient is the rotation by the opposite angle), the
/// attention itself by <see cref="CausalAttentionKernel"/>, or recorded by autograd where that cannot be used. Heads are
/// independent, so each rank of a tensor group has its share of them.
/// </summary>
/// <param name="heads">Query heads of this rank.</param>
/// <param name="keyValueHeads">Key/value heads of this rank; divides <paramref name="heads"/>.</param>
/// <param name="headDim">Elements per head.</param>
/// <param name="cosine_PD">Cosines of the rotation [positions, D / 2].</param>
/// <param name="sine_PD">Sines.</param>
/// <param name="recompute">Keep the input only and compute the attention again in the backward.</param>
public sealed class AttentionCoreSegment(
    int heads, int keyValueHeads, int headDim, Tensor cosine_PD, Tensor sine_PD, bool recompute)
{
    /// <summary>Attends.</summary>
    /// <param name="projected">[N, (H + 2K)·D]: queries, keys and values side by side.</param>
    /// <param name="sequences">B.</param>
    /// <param name="tape">Where the graph is kept; null when there will be no backward.</param>
    /// <returns>[N, H·D].</returns>
    public Tensor Forward(Tensor projected, int sequences, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(projected);
        if (UsesKernel(projected))
        {
            if (recompute)
                tape?.Push(projected.alias());
            return ForwardKernel(projected, sequences, recompute ? null : tape);
        }

        if (tape is null || recompute)
        {
            tape?.Push(projected.alias());
            var inputs = Rotated(projected, sequences);
            return Merge(Attend(inputs)).to_type(projected.dtype);
        }

        return Record(projected, sequences, tape).detach();
    }

    /// <summary>Gradient of the projections, from that of the result.</summary>
    public Tensor Backward(Tensor gradient, int sequences, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(gradient);
        ArgumentNullException.ThrowIfNull(tape);
        if (UsesKernel(gradient))
        {
            if (recompute)
                ForwardKernel(tape.Pop(), sequences, tape);
            return BackwardKernel(gradient, sequences, tape);
        }

        if (recompute)
            Record(tape.Pop(), sequences, tape);
        var (result, value, key, query) = (tape.Pop(), tape.Pop(), tape.Pop(), tape.Pop());
        var gradients = torch.autograd.grad([result], [query, key, value], [gradient]);

        var (tokens, length) = (gradient.shape[0], gradient.shape[0] / sequences);
        var whole = torch.empty([tokens, (heads + (2L * keyValueHeads)) * headDim], dtype: gradient.dtype, device: gradient.device);
        using var places = whole.view(sequences, length, heads + (2 * keyValueHeads), headDim);
        RotateInto(places.narrow(2, 0, heads), gradients[0].transpose(1, 2), length, -1);
        RotateInto(places.narrow(2, heads, keyValueHeads), gradients[1].transpose(1, 2), length, -1);
        places.narrow(2, heads + keyValueHeads, keyValueHeads).copy_(gradients[2].transpose(1, 2));
        return whole;
    }

    private bool UsesKernel(Tensor x) => CausalAttentionKernel.Supports(x.device, x.dtype, headDim);

    private Tensor ForwardKernel(Tensor projected, int sequences, ActivationTape? tape)
    {
        var (tokens, length) = (projected.shape[0], projected.shape[0] / sequences);
        var split = projected.view(sequences, length, heads + (2 * keyValueHeads), headDim);
        var rotated = torch.empty_like(split);
        RotaryKernel.Rotate(split, heads + keyValueHeads, cosine_PD, sine_PD, 1, rotated);
        var (query, key, value) = Parts(rotated);
        var (result, logSums) = CausalAttentionKernel.Forward(query, key, value);
        if (tape is not null)
        {
            tape.Push(rotated);
            tape.Push(result.alias());
            tape.Push(logSums);
        }

        return result.view(tokens, (long)heads * headDim);
    }

    private Tensor BackwardKernel(Tensor gradient, int sequences, ActivationTape tape)
    {
        var (logSums, result, rotated) = (tape.Pop(), tape.Pop(), tape.Pop());
        var (query, key, value) = Parts(rotated);
        var whole = torch.empty_like(rotated);
        var (queryGradient, keyGradient, valueGradient) = Parts(whole);
        CausalAttentionKernel.Backward(
            gradient.view(result.shape), query, key, value, result, logSums, queryGradient, keyGradient, valueGradient);
        RotaryKernel.Rotate(whole, heads + keyValueHeads, cosine_PD, sine_PD, -1, whole);
        return whole.view(gradient.shape[0], (heads + (2L * keyValueHeads)) * headDim);
    }

    /// <summary>Queries, keys and values [B, heads, T, D] of a tensor [B, T, H + 2K, D].</summary>
    private (Tensor Query, Tensor Key, Tensor Value) Parts(Tensor x) => (
        x.narrow(2, 0, heads).transpose(1, 2), x.narrow(2, heads, keyValueHeads).transpose(1, 2),
        x.narrow(2, heads + keyValueHeads, keyValueHeads).transpose(1, 2));

    private Tensor Record(Tensor projected, int sequences, ActivationTape tape)
    {
        var (query, key, value) = Rotated(projected, sequences);
        using var recording = torch.enable_grad();
        query = query.detach().requires_grad_();
        key = key.detach().requires_grad_();
        value = value.detach().requires_grad_();
        var result = Merge(Attend((query, key, value))).to_type(projected.dtype);
        tape.Push(query);
        tape.Push(key);
        tape.Push(value);
        tape.Push(result);
        return result;
    }

    private (Tensor Query, Tensor Key, Tensor Value) Rotated(Tensor projected, int sequences)
    {
        var length = projected.shape[0] / sequences;
        var split = projected.view(sequences, length, heads + (2 * keyValueHeads), headDim);
        var type = AttentionType(projected);
        var turned = torch.empty([sequences, length, heads + keyValueHeads, headDim], dtype: type, device: projected.device);
        RotateInto(turned, split.narrow(2, 0, heads + keyValueHeads), length, 1);
        return (
            turned.narrow(2, 0, heads).transpose(1, 2),
            turned.narrow(2, heads, keyValueHeads).transpose(1, 2),
            split.narrow(2, heads + keyValueHeads, keyValueHeads).to_type(type).transpose(1, 2));
    }

    /// <summary>libtorch's bf16 kernel on the CPU is slower than its fp32 one for heads of up to 32 elements.</summary>
    private torch.ScalarType AttentionType(Tensor x) =>
        x.dtype == torch.ScalarType.BFloat16 && x.device_type == DeviceType.CPU && headDim <= 32 ? torch.ScalarType.Float32 : x.dtype;

    /// <summary>Rotates x [B, T, heads, D] by its positions' angles, times a sign, into a tensor of its shape.</summary>
    private void RotateInto(Tensor destination, Tensor x, long length, int sign)
    {
        var half = headDim / 2;
        var cosine = cosine_PD.narrow(0, 0, length).unsqueeze(1);
        var sine = sine_PD.narrow(0, 0, length).unsqueeze(1);
        var (first, second) = (x.narrow(3, 0, half), x.narrow(3, half, half));
        using var left = first * cosine;
        using var right = second * cosine;
        destination.narrow(3, 0, half).copy_(left.AddProductInPlace(second, sine, -sign));
        destination.narrow(3, half, half).copy_(right.AddProductInPlace(first, sine, sign));
    }

    private Tensor Attend((Tensor Query, Tensor Key, Tensor Value) inputs)
    {
        var (query, key, value) = inputs;
        if (heads != keyValueHeads)
        {
            key = key.repeat_interleave(heads / keyValueHeads, 1);
            value = value.repeat_interleave(heads / keyValueHeads, 1);
        }

        return Ops.ScaledDotProductAttention(query, key, value, null, isCausal: true, scale: null);
    }

    private static Tensor Merge(Tensor x_BHTD)
    {
        var shape = x_BHTD.shape;
        return x_BHTD.transpose(1, 2).reshape(shape[0] * shape[2], shape[1] * shape[3]);
    }
}
