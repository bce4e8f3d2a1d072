using System.Runtime.CompilerServices;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

// Shapes: B sequences of T positions, Q heads of which the first R are rotated, D head size, P positions of the tables.

/// <summary>
/// Rotation of the query and key heads of a projection by their positions' angles (Su et al. 2021, in Hugging Face's
/// convention of halves), in one pass over memory; the other heads are copied.
/// </summary>
public static unsafe class RotaryKernel
{
    private const int Positions = 16;

    /// <summary>Rotates.</summary>
    /// <param name="x_BTQD">Contiguous, fp32 or bf16 on the CPU; the machine has 512-bit vectors.</param>
    /// <param name="rotatedHeads">R.</param>
    /// <param name="cosine_PD">Cosines [P, D / 2] of the same type, P at least T.</param>
    /// <param name="sine_PD">Sines.</param>
    /// <param name="sign">1 for the rotation, −1 for the opposite one, which is its gradient.</param>
    /// <param name="destination">Of the same shape and type; may be <paramref name="x_BTQD"/> itself.</param>
    public static void Rotate(Tensor x_BTQD, int rotatedHeads, Tensor cosine_PD, Tensor sine_PD, int sign, Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(x_BTQD);
        ArgumentNullException.ThrowIfNull(cosine_PD);
        ArgumentNullException.ThrowIfNull(sine_PD);
        ArgumentNullException.ThrowIfNull(destination);
        TensorArgument.Dimensions(x_BTQD, 4, nameof(x_BTQD));
        TensorArgument.SameType(destination, x_BTQD, nameof(destination));
        TensorArgument.SameShape(destination, x_BTQD, nameof(destination));
        TensorArgument.SameType(cosine_PD, x_BTQD, nameof(cosine_PD));
        TensorArgument.SameType(sine_PD, x_BTQD, nameof(sine_PD));
        TensorArgument.SameShape(sine_PD, cosine_PD, nameof(sine_PD));
        var (length, heads, size) = (x_BTQD.shape[1], x_BTQD.shape[2], x_BTQD.shape[3]);
        if (!Lanes.Exist(x_BTQD.dtype) || size % 2 != 0 || cosine_PD.dim() != 2 || cosine_PD.shape[0] < length || cosine_PD.shape[1] != size / 2
            || rotatedHeads < 0 || rotatedHeads > heads)
            throw new ArgumentException($"Not supported: {rotatedHeads} heads of {x_BTQD.dtype} {TensorArgument.Shape(x_BTQD)}.", nameof(x_BTQD));
        var work = new Pass(
            TensorMemory.DataPointer(x_BTQD), TensorMemory.DataPointer(destination), TensorMemory.DataPointer(cosine_PD),
            TensorMemory.DataPointer(sine_PD), heads, rotatedHeads, size, sign);
        var isHalf = x_BTQD.dtype == ScalarType.BFloat16;
        KernelThreads.ForEachRange(x_BTQD.shape[0] * length, Positions, (first, end) =>
        {
            for (var token = first; token < end; token++)
            {
                if (isHalf)
                    Rotate<BFloat16Lanes>(work, token, token % length);
                else
                    Rotate<Float32Lanes>(work, token, token % length);
            }
        });
        GC.KeepAlive(x_BTQD);
        GC.KeepAlive(cosine_PD);
        GC.KeepAlive(sine_PD);
        GC.KeepAlive(destination);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rotate<T>(Pass pass, long token, long position)
        where T : struct, ILanes
    {
        void* x = (void*)pass.X, y = (void*)pass.Y;
        var half = pass.Size / 2;
        var table = position * half;
        for (var head = 0L; head < pass.Rotated; head++)
        {
            var first = ((token * pass.Heads) + head) * pass.Size;
            var second = first + half;
            for (var d = 0L; d < half; d += Lanes.Width)
            {
                var cosine = Lanes.Load<T>((void*)pass.Cosine, table + d, table + half);
                var sine = Lanes.Load<T>((void*)pass.Sine, table + d, table + half) * pass.Sign;
                var left = Lanes.Load<T>(x, first + d, second);
                var right = Lanes.Load<T>(x, second + d, second + half);
                Lanes.Store<T>(y, first + d, second, (left * cosine) - (right * sine));
                Lanes.Store<T>(y, second + d, second + half, (right * cosine) + (left * sine));
            }
        }

        if (pass.X == pass.Y)
            return;
        var (start, end) = (((token * pass.Heads) + pass.Rotated) * pass.Size, (token + 1) * pass.Heads * pass.Size);
        for (var i = start; i < end; i += Lanes.Width)
            Lanes.Store<T>(y, i, end, Lanes.Load<T>(x, i, end));
    }

    private readonly record struct Pass(nint X, nint Y, nint Cosine, nint Sine, long Heads, long Rotated, long Size, float Sign);
}
