using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Platform.Serving.Core.Sampling;

/// <summary>Passes over a row of logits, 16 at a time. The order of every sum is fixed by the length alone.</summary>
internal static class VectorMath
{
    /// <summary>The largest value; NaN counts as the smallest.</summary>
    public static float Max(ReadOnlySpan<float> values)
    {
        var lanes = Vector512.Create(float.NegativeInfinity);
        var i = 0;
        ref var start = ref MemoryMarshal.GetReference(values);
        for (; i + Vector512<float>.Count <= values.Length; i += Vector512<float>.Count)
            lanes = Vector512.MaxNumber(lanes, Vector512.LoadUnsafe(ref start, (nuint)i));
        var max = float.NegativeInfinity;
        for (var lane = 0; lane < Vector512<float>.Count; lane++)
            max = MathF.Max(max, lanes[lane]);
        for (; i < values.Length; i++)
            max = values[i] > max ? values[i] : max;
        return max;
    }

    /// <summary>Index of the first value equal to the largest; 0 when there is none.</summary>
    public static int ArgMax(ReadOnlySpan<float> values) => Math.Max(0, values.IndexOf(Max(values)));

    /// <summary>Writes <c>exp((value − max) · factor)</c> and returns the sum.</summary>
    public static double ExpShifted(ReadOnlySpan<float> values, float max, float factor, Span<float> results)
    {
        var (shift, scale) = (Vector512.Create(max), Vector512.Create(factor));
        var low = Vector512<double>.Zero;
        var high = Vector512<double>.Zero;
        var i = 0;
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var target = ref MemoryMarshal.GetReference(results[..values.Length]);
        for (; i + Vector512<float>.Count <= values.Length; i += Vector512<float>.Count)
        {
            var e = Vector512.Exp((Vector512.LoadUnsafe(ref source, (nuint)i) - shift) * scale);
            e.StoreUnsafe(ref target, (nuint)i);
            low += Vector512.WidenLower(e);
            high += Vector512.WidenUpper(e);
        }

        var sum = Vector512.Sum(low + high);
        if (i < values.Length)
        {
            Span<float> tail = stackalloc float[Vector512<float>.Count];
            tail.Fill(float.NegativeInfinity);
            values[i..].CopyTo(tail);
            var e = Vector512.Exp((Vector512.Create<float>(tail) - shift) * scale);
            for (var lane = 0; i < values.Length; lane++, i++)
            {
                results[i] = e[lane];
                sum += e[lane];
            }
        }

        return sum;
    }
}
