using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

// Shapes: N tokens, F inner size; gateUp [N, 2F] holds gate and up side by side.

/// <summary>
/// The gated activation <c>silu(gate)·up</c> and its gradient on the CPU, each in one pass over memory, in fp32 whatever the
/// inputs' type. Element by element, so bits depend on nothing else.
/// </summary>
public static unsafe class SwiGluKernel
{
    private const int Rows = 8;

    /// <summary>Whether this machine and these inputs can use the kernel.</summary>
    /// <param name="gateUp_N2F">Two contiguous dimensions on the CPU, in fp32 or bf16; the machine has 512-bit vectors.</param>
    public static bool Supports(Tensor gateUp_N2F)
    {
        ArgumentNullException.ThrowIfNull(gateUp_N2F);
        return Lanes.Exist(gateUp_N2F.dtype) && gateUp_N2F.device_type == DeviceType.CPU && gateUp_N2F.dim() == 2
            && gateUp_N2F.shape[1] % 2 == 0 && gateUp_N2F.is_contiguous();
    }

    /// <summary>Activates: [N, F] in the caller's dispose scope, no autograd.</summary>
    public static Tensor Forward(Tensor gateUp_N2F)
    {
        var (rows, width) = Check(gateUp_N2F);
        var result = TensorMemory.Empty([rows, width], gateUp_N2F.dtype);
        var (x, y) = (TensorMemory.DataPointer(gateUp_N2F), TensorMemory.DataPointer(result));
        var isHalf = gateUp_N2F.dtype == ScalarType.BFloat16;
        KernelThreads.ForEachRange(rows, Rows, (first, end) =>
        {
            for (var row = first; row < end; row++)
            {
                if (isHalf)
                    Forward<BFloat16Lanes>((void*)x, (void*)y, row, width);
                else
                    Forward<Float32Lanes>((void*)x, (void*)y, row, width);
            }
        });
        GC.KeepAlive(gateUp_N2F);
        return result;
    }

    /// <summary>Gradient of gate and up, [N, 2F] in the caller's dispose scope.</summary>
    /// <param name="gradient_NF">Gradient of the result, contiguous, of the input's type.</param>
    /// <param name="gateUp_N2F">As given to the forward pass.</param>
    public static Tensor Backward(Tensor gradient_NF, Tensor gateUp_N2F)
    {
        var (rows, width) = Check(gateUp_N2F);
        ArgumentNullException.ThrowIfNull(gradient_NF);
        TensorArgument.SameType(gradient_NF, gateUp_N2F, nameof(gradient_NF));
        if (!gradient_NF.shape.AsSpan().SequenceEqual([rows, width]))
            throw new ArgumentException($"Expected [{rows}, {width}], found {TensorArgument.Shape(gradient_NF)}.", nameof(gradient_NF));
        var result = TensorMemory.Empty(gateUp_N2F.shape, gateUp_N2F.dtype);
        var (x, dy, dx) = (TensorMemory.DataPointer(gateUp_N2F), TensorMemory.DataPointer(gradient_NF), TensorMemory.DataPointer(result));
        var isHalf = gateUp_N2F.dtype == ScalarType.BFloat16;
        KernelThreads.ForEachRange(rows, Rows, (first, end) =>
        {
            for (var row = first; row < end; row++)
            {
                if (isHalf)
                    Backward<BFloat16Lanes>((void*)x, (void*)dy, (void*)dx, row, width);
                else
                    Backward<Float32Lanes>((void*)x, (void*)dy, (void*)dx, row, width);
            }
        });
        GC.KeepAlive(gradient_NF);
        GC.KeepAlive(gateUp_N2F);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Forward<T>(void* x, void* y, long row, long width)
        where T : struct, ILanes
    {
        long gate = 2 * row * width, up = gate + width, to = row * width;
        for (var i = 0L; i < width; i += Lanes.Width)
        {
            var value = Lanes.Load<T>(x, gate + i, up);
            Lanes.Store<T>(y, to + i, to + width, value * Sigmoid(value) * Lanes.Load<T>(x, up + i, up + width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward<T>(void* x, void* dy, void* dx, long row, long width)
        where T : struct, ILanes
    {
        long gate = 2 * row * width, up = gate + width, from = row * width;
        for (var i = 0L; i < width; i += Lanes.Width)
        {
            var value = Lanes.Load<T>(x, gate + i, up);
            var gradient = Lanes.Load<T>(dy, from + i, from + width);
            var sigmoid = Sigmoid(value);
            var activated = value * sigmoid;
            // silu' = σ + x·σ·(1 − σ)
            var slope = sigmoid + (activated * (Vector512<float>.One - sigmoid));
            Lanes.Store<T>(dx, gate + i, up, gradient * Lanes.Load<T>(x, up + i, up + width) * slope);
            Lanes.Store<T>(dx, up + i, up + width, gradient * activated);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Sigmoid(Vector512<float> x) =>
        Vector512<float>.One / (Vector512<float>.One + Lanes.Exponential(Vector512.Min(-x, Vector512.Create(80f))));

    private static (long Rows, long Width) Check(Tensor gateUp_N2F)
    {
        if (!Supports(gateUp_N2F))
            throw new ArgumentException($"Not supported: {gateUp_N2F.dtype} {TensorArgument.Shape(gateUp_N2F)} on {gateUp_N2F.device}.", nameof(gateUp_N2F));
        return (gateUp_N2F.shape[0], gateUp_N2F.shape[1] / 2);
    }
}
