using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

// Shapes: N rows, E elements of a row.

/// <summary>
/// Root-mean-square norm on the CPU, forward and backward, for training loops that drive the backward themselves:
/// <c>y = x · r · w</c> with <c>r = 1 / sqrt(mean(x²) + ε)</c> (Zhang and Sennrich 2019, equation 4). Computes in fp32 whatever
/// the inputs' type; a row's bits depend neither on the other rows nor on the number of threads.
/// </summary>
public static unsafe class RmsNormKernel
{
    private const int ForwardRows = 16;
    private const int BackwardRows = 64;

    /// <summary>Whether this machine and these inputs can use the kernel; where they cannot, use <see cref="Ops.RmsNorm"/>.</summary>
    /// <param name="x_NE">Two dimensions on the CPU, in fp32 or bf16; the machine has 512-bit vectors.</param>
    public static bool Supports(Tensor x_NE)
    {
        ArgumentNullException.ThrowIfNull(x_NE);
        return Lanes.Exist(x_NE.dtype) && x_NE.device_type == DeviceType.CPU && x_NE.dim() == 2 && x_NE.shape[1] > 0;
    }

    /// <summary>Normalises each row.</summary>
    /// <param name="x_NE">Contiguous rows.</param>
    /// <param name="weight_E">Weight, of the same type.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>The result, and r of each row in fp32, which <see cref="Backward"/> needs; in the caller's dispose scope, no autograd.</returns>
    public static (Tensor Result_NE, Tensor Scales_N) Forward(Tensor x_NE, Tensor weight_E, double epsilon)
    {
        var (rows, width) = Check(x_NE, weight_E);
        var result = TensorMemory.Empty(x_NE.shape, x_NE.dtype);
        var scales = TensorMemory.Empty([rows], ScalarType.Float32);
        var work = new Pass(TensorMemory.DataPointer(x_NE), TensorMemory.DataPointer(weight_E), TensorMemory.DataPointer(scales), width);
        var y = TensorMemory.DataPointer(result);
        var isHalf = x_NE.dtype == ScalarType.BFloat16;
        KernelThreads.ForEachRange(rows, ForwardRows, (first, end) =>
        {
            for (var row = first; row < end; row++)
            {
                if (isHalf)
                    Forward<BFloat16Lanes>(work, row, (void*)y, (float)epsilon);
                else
                    Forward<Float32Lanes>(work, row, (void*)y, (float)epsilon);
            }
        });
        GC.KeepAlive(x_NE);
        GC.KeepAlive(weight_E);
        return (result, scales);
    }

    /// <summary>Gradients of <see cref="Forward"/>.</summary>
    /// <param name="gradient_NE">Gradient with respect to the result, contiguous, of the input's type.</param>
    /// <param name="x_NE">As given to the forward pass.</param>
    /// <param name="weight_E">As given to the forward pass.</param>
    /// <param name="scales_N">What the forward pass returned.</param>
    /// <param name="weightGradient_E">Gradient of the weight in fp32, added to; null when it is not wanted.</param>
    /// <returns>Gradient with respect to the input, in the caller's dispose scope.</returns>
    public static Tensor Backward(Tensor gradient_NE, Tensor x_NE, Tensor weight_E, Tensor scales_N, Tensor? weightGradient_E)
    {
        var (rows, width) = Check(x_NE, weight_E);
        ArgumentNullException.ThrowIfNull(gradient_NE);
        ArgumentNullException.ThrowIfNull(scales_N);
        TensorArgument.SameType(gradient_NE, x_NE, nameof(gradient_NE));
        TensorArgument.SameShape(gradient_NE, x_NE, nameof(gradient_NE));
        if (weightGradient_E is not null)
            TensorArgument.SameShape(weightGradient_E, weight_E, nameof(weightGradient_E));
        if (scales_N.dtype != ScalarType.Float32 || scales_N.numel() != rows || weightGradient_E?.dtype is not (null or ScalarType.Float32))
            throw new ArgumentException("Scales and the weight's gradient are fp32, one scale per row.", nameof(scales_N));
        var result = TensorMemory.Empty(x_NE.shape, x_NE.dtype);
        // Each range of rows sums on its own; the sums are added in order, so that threads change no bit.
        using var partial = torch.zeros([(rows + BackwardRows - 1) / BackwardRows, width], dtype: ScalarType.Float32);
        var work = new Pass(TensorMemory.DataPointer(x_NE), TensorMemory.DataPointer(weight_E), TensorMemory.DataPointer(scales_N), width);
        var (dy, dx, sums) = (TensorMemory.DataPointer(gradient_NE), TensorMemory.DataPointer(result), TensorMemory.DataPointer(partial));
        var isHalf = x_NE.dtype == ScalarType.BFloat16;
        KernelThreads.ForEachRange(rows, BackwardRows, (first, end) =>
        {
            var sum = (float*)sums + (first / BackwardRows * width);
            for (var row = first; row < end; row++)
            {
                if (isHalf)
                    Backward<BFloat16Lanes>(work, row, (void*)dy, (void*)dx, sum);
                else
                    Backward<Float32Lanes>(work, row, (void*)dy, (void*)dx, sum);
            }
        });
        if (weightGradient_E is not null)
            AddPartials((float*)TensorMemory.DataPointer(weightGradient_E), (float*)sums, partial.shape[0], width);
        GC.KeepAlive(gradient_NE);
        GC.KeepAlive(x_NE);
        GC.KeepAlive(weight_E);
        GC.KeepAlive(scales_N);
        GC.KeepAlive(weightGradient_E);
        return result;
    }

    private static void AddPartials(float* total, float* sums, long ranges, long width)
    {
        for (var range = 0L; range < ranges; range++, sums += width)
        {
            for (var i = 0L; i < width; i += Lanes.Width)
                Lanes.Store<Float32Lanes>(total, i, width, Lanes.Load<Float32Lanes>(total, i, width) + Lanes.Load<Float32Lanes>(sums, i, width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Forward<T>(Pass pass, long row, void* y, float epsilon)
        where T : struct, ILanes
    {
        var (start, end) = (row * pass.Width, (row + 1) * pass.Width);
        void* x = (void*)pass.X, w = (void*)pass.Weight;
        var squares = Vector512<float>.Zero;
        for (var i = start; i < end; i += Lanes.Width)
        {
            var value = Lanes.Load<T>(x, i, end);
            squares = Vector512.FusedMultiplyAdd(value, value, squares);
        }

        var scale = 1 / MathF.Sqrt((Vector512.Sum(squares) / pass.Width) + epsilon);
        ((float*)pass.Scales)[row] = scale;
        for (var i = start; i < end; i += Lanes.Width)
            Lanes.Store<T>(y, i, end, Lanes.Load<T>(x, i, end) * scale * Lanes.Load<T>(w, i - start, pass.Width));
    }

    /// <summary><c>dx = r · (dy·w − x̂ · mean(dy·w·x̂))</c> and <c>dw += dy · x̂</c> with <c>x̂ = x · r</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward<T>(Pass pass, long row, void* dy, void* dx, float* weightSum)
        where T : struct, ILanes
    {
        var (start, end) = (row * pass.Width, (row + 1) * pass.Width);
        void* x = (void*)pass.X, w = (void*)pass.Weight;
        var scale = ((float*)pass.Scales)[row];
        var dots = Vector512<float>.Zero;
        for (var i = start; i < end; i += Lanes.Width)
        {
            var gradient = Lanes.Load<T>(dy, i, end);
            var product = gradient * (Lanes.Load<T>(x, i, end) * scale);
            Lanes.Store<Float32Lanes>(weightSum, i - start, pass.Width, Lanes.Load<Float32Lanes>(weightSum, i - start, pass.Width) + product);
            dots = Vector512.FusedMultiplyAdd(product, Lanes.Load<T>(w, i - start, pass.Width), dots);
        }

        var mean = Vector512.Sum(dots) / pass.Width;
        for (var i = start; i < end; i += Lanes.Width)
        {
            var weighted = Lanes.Load<T>(dy, i, end) * Lanes.Load<T>(w, i - start, pass.Width);
            Lanes.Store<T>(dx, i, end, (weighted - (Lanes.Load<T>(x, i, end) * (scale * mean))) * scale);
        }
    }

    private static (long Rows, long Width) Check(Tensor x_NE, Tensor weight_E)
    {
        ArgumentNullException.ThrowIfNull(weight_E);
        if (!Supports(x_NE))
            throw new ArgumentException($"Not supported: {x_NE.dtype} {TensorArgument.Shape(x_NE)} on {x_NE.device}.", nameof(x_NE));
        TensorArgument.SameType(weight_E, x_NE, nameof(weight_E));
        if (weight_E.dim() != 1 || weight_E.shape[0] != x_NE.shape[1])
            throw new ArgumentException($"Expected {x_NE.shape[1]} weights, found {TensorArgument.Shape(weight_E)}.", nameof(weight_E));
        return (x_NE.shape[0], x_NE.shape[1]);
    }

    private readonly record struct Pass(nint X, nint Weight, nint Scales, long Width);
}
