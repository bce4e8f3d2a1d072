using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

// Shapes: N tokens, V logits of each.

/// <summary>
/// Softmax statistics of rows of logits and the gradient of their cross-entropy on the CPU, reading the logits in their own
/// format and computing in fp32, so that no fp32 copy of the logits exists. A row's bits depend neither on the other rows nor on
/// the number of threads.
/// </summary>
public static unsafe class CrossEntropyKernel
{
    private const int Rows = 8;

    /// <summary>Whether this machine and these inputs can use the kernel.</summary>
    /// <param name="logits_NV">Two contiguous dimensions on the CPU, in fp32 or bf16, V at least 1; the machine has 512-bit vectors.</param>
    public static bool Supports(Tensor logits_NV)
    {
        ArgumentNullException.ThrowIfNull(logits_NV);
        return Lanes.Exist(logits_NV.dtype) && logits_NV.device_type == DeviceType.CPU && logits_NV.dim() == 2 && logits_NV.shape[1] > 0
            && logits_NV.is_contiguous();
    }

    /// <summary>Largest logit of each row and the sum of <c>exp(logit − largest)</c>: two fp32 tensors [N] in the caller's dispose scope.</summary>
    public static (Tensor Largest_N, Tensor Sum_N) Statistics(Tensor logits_NV)
    {
        var (rows, width) = Check(logits_NV);
        var (largest, sum) = (TensorMemory.Empty([rows], ScalarType.Float32), TensorMemory.Empty([rows], ScalarType.Float32));
        var (x, m, s) = (TensorMemory.DataPointer(logits_NV), TensorMemory.DataPointer(largest), TensorMemory.DataPointer(sum));
        var isHalf = logits_NV.dtype == ScalarType.BFloat16;
        KernelThreads.ForEachRange(rows, Rows, (first, end) =>
        {
            for (var row = first; row < end; row++)
                (((float*)m)[row], ((float*)s)[row]) = isHalf
                    ? Statistics<BFloat16Lanes>((void*)x, row * width, (row + 1) * width)
                    : Statistics<Float32Lanes>((void*)x, row * width, (row + 1) * width);
        });
        GC.KeepAlive(logits_NV);
        return (largest, sum);
    }

    /// <summary>Replaces the logits by <c>scale · (exp(logit − shift) / total − [target])</c>.</summary>
    /// <param name="logits_NV">Logits.</param>
    /// <param name="shift_N">fp32: the largest logit of each row over all ranks' shares of it.</param>
    /// <param name="total_N">fp32: the sum of the exponentials over all ranks' shares.</param>
    /// <param name="targets_N">Int64 id of the target of each row; a row whose target is negative does not count and becomes zero.</param>
    /// <param name="firstId">Id of the first of the V.</param>
    /// <param name="scale">Weight of a row's loss.</param>
    public static void Differentiate(Tensor logits_NV, Tensor shift_N, Tensor total_N, Tensor targets_N, long firstId, double scale)
    {
        var (rows, width) = Check(logits_NV);
        ArgumentNullException.ThrowIfNull(shift_N);
        ArgumentNullException.ThrowIfNull(total_N);
        ArgumentNullException.ThrowIfNull(targets_N);
        if (shift_N.dtype != ScalarType.Float32 || total_N.dtype != ScalarType.Float32 || targets_N.dtype != ScalarType.Int64
            || shift_N.numel() != rows || total_N.numel() != rows || targets_N.numel() != rows)
            throw new ArgumentException($"Shifts and totals are fp32 and targets Int64, {rows} of each.", nameof(targets_N));
        var (x, m, s, t) = (
            TensorMemory.DataPointer(logits_NV), TensorMemory.DataPointer(shift_N), TensorMemory.DataPointer(total_N),
            TensorMemory.DataPointer(targets_N));
        var isHalf = logits_NV.dtype == ScalarType.BFloat16;
        KernelThreads.ForEachRange(rows, Rows, (first, end) =>
        {
            for (var row = first; row < end; row++)
            {
                var id = ((long*)t)[row];
                var weight = id < 0 ? 0 : scale;
                var target = id < 0 ? -1 : id - firstId;
                var (shift, factor) = (((float*)m)[row], (float)(weight / ((float*)s)[row]));
                if (isHalf)
                    Differentiate<BFloat16Lanes>((void*)x, row * width, (row + 1) * width, shift, factor, target, (float)weight);
                else
                    Differentiate<Float32Lanes>((void*)x, row * width, (row + 1) * width, shift, factor, target, (float)weight);
            }
        });
        GC.KeepAlive(logits_NV);
        GC.KeepAlive(shift_N);
        GC.KeepAlive(total_N);
        GC.KeepAlive(targets_N);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (float Largest, float Sum) Statistics<T>(void* x, long start, long end)
        where T : struct, ILanes
    {
        var whole = end - ((end - start) % Lanes.Width);
        var vector = Vector512.Create(float.NegativeInfinity);
        for (var i = start; i < whole; i += Lanes.Width)
            vector = Vector512.Max(vector, T.Load(x, i));
        var largest = float.NegativeInfinity;
        for (var lane = 0; lane < Lanes.Width; lane++)
            largest = MathF.Max(largest, vector[lane]);
        for (var i = whole; i < end; i++)
            largest = MathF.Max(largest, T.LoadOne(x, i));

        var sums = Vector512<float>.Zero;
        var shift = Vector512.Create(largest);
        for (var i = start; i < whole; i += Lanes.Width)
            sums += Lanes.Exponential(T.Load(x, i) - shift);
        var sum = Vector512.Sum(sums);
        for (var i = whole; i < end; i++)
            sum += MathF.Exp(T.LoadOne(x, i) - largest);
        return (largest, sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Differentiate<T>(void* x, long start, long end, float shift, float factor, long target, float scale)
        where T : struct, ILanes
    {
        var isMine = target >= 0 && target < end - start;
        var atTarget = isMine ? (MathF.Exp(T.LoadOne(x, start + target) - shift) * factor) - scale : 0;
        for (var i = start; i < end; i += Lanes.Width)
            Lanes.Store<T>(x, i, end, Lanes.Exponential(Lanes.Load<T>(x, i, end) - Vector512.Create(shift)) * factor);
        if (isMine)
            T.StoreOne(x, start + target, atTarget);
    }

    private static (long Rows, long Width) Check(Tensor logits_NV)
    {
        if (!Supports(logits_NV))
            throw new ArgumentException($"Not supported: {logits_NV.dtype} {TensorArgument.Shape(logits_NV)} on {logits_NV.device}.", nameof(logits_NV));
        return (logits_NV.shape[0], logits_NV.shape[1]);
    }
}
