using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

/// <summary>Sum of squares of a large tensor, formed in fp64 in an order that does not depend on the number of threads.</summary>
public static unsafe class SquaredNormKernel
{
    private const long BlockElements = 1 << 19;

    /// <summary>The sum of the squares of all elements.</summary>
    /// <param name="tensor">A contiguous fp32 or fp64 tensor on the CPU.</param>
    public static double Of(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.dtype is not (ScalarType.Float32 or ScalarType.Float64))
            throw new ArgumentException($"Expected an fp32 or fp64 tensor, found {tensor.dtype}.", nameof(tensor));
        var start = TensorMemory.DataPointer(tensor);
        var count = tensor.numel();
        var sums = new double[(count + BlockElements - 1) / BlockElements];
        if (tensor.dtype == ScalarType.Float32)
            KernelThreads.ForEachRange(count, BlockElements, (first, end) => sums[first / BlockElements] = Single((float*)start + first, end - first));
        else
            KernelThreads.ForEachRange(count, BlockElements, (first, end) => sums[first / BlockElements] = Double((double*)start + first, end - first));
        GC.KeepAlive(tensor);
        return sums.Sum();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Single(float* values, long count)
    {
        Vector512<double> even = default, odd = default;
        long i = 0;
        for (; i + 16 <= count; i += 16)
        {
            var (low, high) = Vector512.Widen(Vector512.Load(values + i));
            even += low * low;
            odd += high * high;
        }

        var sum = Vector512.Sum(even + odd);
        for (; i < count; i++)
            sum += (double)values[i] * values[i];
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Double(double* values, long count)
    {
        Vector512<double> even = default, odd = default;
        long i = 0;
        for (; i + 16 <= count; i += 16)
        {
            var (low, high) = (Vector512.Load(values + i), Vector512.Load(values + i + 8));
            even += low * low;
            odd += high * high;
        }

        var sum = Vector512.Sum(even + odd);
        for (; i < count; i++)
            sum += values[i] * values[i];
        return sum;
    }
}
