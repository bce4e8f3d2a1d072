using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

/// <summary>Adds bf16 to fp32 on the CPU, in one pass over memory.</summary>
public static unsafe class WideningSum
{
    private const long BlockElements = 1 << 16;

    /// <summary>Whether this machine and these tensors can use the kernel.</summary>
    public static bool Supports(Tensor sum, Tensor addend)
    {
        ArgumentNullException.ThrowIfNull(sum);
        ArgumentNullException.ThrowIfNull(addend);
        return Vector512.IsHardwareAccelerated && sum.dtype == ScalarType.Float32 && addend.dtype == ScalarType.BFloat16
            && sum.device_type == TorchSharp.DeviceType.CPU && addend.device_type == TorchSharp.DeviceType.CPU
            && sum.is_contiguous() && addend.is_contiguous();
    }

    /// <summary><c>sum += addend</c>.</summary>
    /// <param name="sum">Contiguous, fp32.</param>
    /// <param name="addend">Contiguous, bf16, of the same shape.</param>
    public static void Add(Tensor sum, Tensor addend)
    {
        if (!Supports(sum, addend))
            throw new ArgumentException($"Not supported: {sum.dtype} and {addend.dtype}.", nameof(addend));
        TensorArgument.SameShape(addend, sum, nameof(addend));
        var (to, from) = (TensorMemory.DataPointer(sum), TensorMemory.DataPointer(addend));
        KernelThreads.ForEachRange(sum.numel(), BlockElements, (first, end) => Add((float*)to, (void*)from, first, end));
        GC.KeepAlive(sum);
        GC.KeepAlive(addend);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(float* to, void* from, long first, long end)
    {
        for (var i = first; i < end; i += Lanes.Width)
            Lanes.Store<Float32Lanes>(to, i, end, Lanes.Load<Float32Lanes>(to, i, end) + Lanes.Load<BFloat16Lanes>(from, i, end));
    }
}
