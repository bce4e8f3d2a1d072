using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Platform.Torch.Kernels;

/// <summary>One row of the backward.</summary>
/// <param name="Visible">Keys that it sees; 0 for a row of padding.</param>
/// <param name="LogSum">Logarithm of the sum of the exponentials of its scores.</param>
/// <param name="Mean">Dot product of its result and the gradient of it: the mean of the weights' gradients.</param>
internal readonly record struct SlopeRow(int Visible, float LogSum, float Mean);

/// <summary>Two neighbouring rows of the backward.</summary>
internal readonly unsafe struct SlopeRows(
    float* scores, float* gradients, int stride, SlopeRow first, SlopeRow second, float scale, ushort* slopes, int slopeStride)
{
    /// <summary>Products of query and keys, fp32; the second row follows at the stride.</summary>
    public readonly float* Scores = scores;

    /// <summary>Gradients with respect to the weights, likewise.</summary>
    public readonly float* Gradients = gradients;

    /// <summary>Elements from row to row of both.</summary>
    public readonly int Stride = stride;

    public readonly SlopeRow First = first;

    public readonly SlopeRow Second = second;

    /// <summary>Factor on the scores.</summary>
    public readonly float Scale = scale;

    /// <summary>Takes the slopes in bf16, row by row.</summary>
    public readonly ushort* Slopes = slopes;

    /// <summary>Elements from row to row of the slopes.</summary>
    public readonly int SlopeStride = slopeStride;
}

/// <summary>The softmax of attention in bf16: fp32 rows in, bf16 operands of the next product out.</summary>
internal static unsafe class PairRows
{
    private const int Keys = 32;

    /// <summary>
    /// Writes <c>exp(scale · score − shift)</c> of the keys that a row sees in bf16, zeros up to <paramref name="keys"/>; returns
    /// the sum of the exponentials before rounding.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Exponentials(float* scores, int visible, int keys, float scale, float shift, ushort* weights)
    {
        var sum = Vector512<float>.Zero;
        for (var j = 0; j < keys; j += 16)
        {
            var value = Weight(scores, j, visible, scale, shift);
            BFloat16Lanes.Store(weights, j, value);
            sum += value;
        }

        return Vector512.Sum(sum);
    }

    /// <summary>
    /// Weights <c>w = exp(scale · score − logSum)</c> and slopes <c>w · (gradient − mean)</c> of two rows: interleaved in panels
    /// of 32 keys, <see cref="PairedAttention.Block"/> / 2 pairs each, and the slopes row by row as well. Zero where not seen.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Slopes(SlopeRows rows, int keys, uint* weightPanels, uint* slopePanels)
    {
        float* scores = rows.Scores, gradients = rows.Gradients;
        var (first, second, scale, stride) = (rows.First, rows.Second, rows.Scale, rows.Stride);
        for (var j = 0; j < keys; j += 16)
        {
            var weight = Weight(scores, j, first.Visible, scale, first.LogSum);
            var nextWeight = Weight(scores + stride, j, second.Visible, scale, second.LogSum);
            var slope = Slope(weight, gradients, j, first);
            var nextSlope = Slope(nextWeight, gradients + stride, j, second);
            var place = (j / Keys * (PairedAttention.Block / 2) * Keys) + (j % Keys);
            Interleaved(weight, nextWeight).Store(weightPanels + place);
            Interleaved(slope, nextSlope).Store(slopePanels + place);
            BFloat16Lanes.Store(rows.Slopes, j, slope);
            BFloat16Lanes.Store(rows.Slopes + rows.SlopeStride, j, nextSlope);
        }
    }

    /// <summary>Dot product of two rows of bf16.</summary>
    public static float Dot(PairedHead a, PairedHead b, int size)
    {
        var sum = Vector512<float>.Zero;
        for (var d = 0; d < size; d += 16)
            sum += BFloat16Lanes.Load(a.Start, d) * BFloat16Lanes.Load(b.Start, d);
        return Vector512.Sum(sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Weight(float* scores, int j, int visible, float scale, float shift)
    {
        var value = Lanes.Exponential((Vector512.Load(scores + j) * scale) - Vector512.Create(shift));
        return Vector512.ConditionalSelect(
            Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(visible - j)).AsSingle(), value, Vector512<float>.Zero);
    }

    /// <summary>A row of padding has gradients of an older block, whatever they are: its slope is zero, not zero times them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Slope(Vector512<float> weight, float* gradients, int j, SlopeRow row) =>
        row.Visible == 0 ? Vector512<float>.Zero : weight * (Vector512.Load(gradients + j) - Vector512.Create(row.Mean));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Interleaved(Vector512<float> low, Vector512<float> high) =>
        (Rounded(low) >>> 16) | (Rounded(high) & Vector512.Create(0xFFFF_0000u));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Rounded(Vector512<float> value)
    {
        var bits = value.AsUInt32();
        return bits + Vector512.Create(0x7fffu) + ((bits >>> 16) & Vector512.Create(1u));
    }
}
