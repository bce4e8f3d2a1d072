using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Platform.Torch.Kernels;

/// <summary>
/// The matrix products and exponentials of attention over tiles of <see cref="Rows"/> query positions, on fp32 memory, with
/// sixteen vectors of partial sums held in registers. Every sum has a fixed order. Strides and widths are in elements; key
/// counts are multiples of <see cref="Keys"/> and head sizes of <see cref="Columns"/>.
/// </summary>
internal static unsafe class AttentionTiles
{
    /// <summary>Query positions of a tile.</summary>
    public const int Rows = 8;

    /// <summary>Key positions of a step of <see cref="Scores"/>.</summary>
    public const int Keys = 32;

    /// <summary>Elements of a head of a step of the other products.</summary>
    public const int Columns = 32;

    /// <summary>
    /// <c>scores[r, j] = Σ_d rows[r, d] · turned[d, j]</c> for the tile's rows and the first <paramref name="keys"/> positions.
    /// The turned matrix lies in blocks of <see cref="Keys"/> positions, each block d by d, so that it is read in one stream.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scores(float* rows, int size, float* turned, int stride, int keys, float* scores)
    {
        for (var j = 0; j < keys; j += Keys)
        {
            Vector512<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default, d0 = default, d1 = default;
            Vector512<float> e0 = default, e1 = default, f0 = default, f1 = default, g0 = default, g1 = default, h0 = default, h1 = default;
            var column = turned + (j * size);
            for (var d = 0; d < size; d++, column += Keys)
            {
                var left = Vector512.Load(column);
                var right = Vector512.Load(column + 16);
                var row = rows + d;
                Multiply(row[0], left, right, ref a0, ref a1);
                Multiply(row[size], left, right, ref b0, ref b1);
                Multiply(row[2 * size], left, right, ref c0, ref c1);
                Multiply(row[3 * size], left, right, ref d0, ref d1);
                Multiply(row[4 * size], left, right, ref e0, ref e1);
                Multiply(row[5 * size], left, right, ref f0, ref f1);
                Multiply(row[6 * size], left, right, ref g0, ref g1);
                Multiply(row[7 * size], left, right, ref h0, ref h1);
            }

            var target = scores + j;
            Store(target, a0, a1);
            Store(target + stride, b0, b1);
            Store(target + (2 * stride), c0, c1);
            Store(target + (3 * stride), d0, d1);
            Store(target + (4 * stride), e0, e1);
            Store(target + (5 * stride), f0, f1);
            Store(target + (6 * stride), g0, g1);
            Store(target + (7 * stride), h0, h1);
        }
    }

    /// <summary><c>result[r, d] = Σ_j weights[r, j] · values[j, d]</c> over the first <paramref name="keys"/> positions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Combine(float* weights, int stride, int keys, float* values, int size, float* result)
    {
        for (var d = 0; d < size; d += Columns)
        {
            Vector512<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default, d0 = default, d1 = default;
            Vector512<float> e0 = default, e1 = default, f0 = default, f1 = default, g0 = default, g1 = default, h0 = default, h1 = default;
            var value = values + d;
            for (var j = 0; j < keys; j++, value += size)
            {
                var left = Vector512.Load(value);
                var right = Vector512.Load(value + 16);
                var weight = weights + j;
                Multiply(weight[0], left, right, ref a0, ref a1);
                Multiply(weight[stride], left, right, ref b0, ref b1);
                Multiply(weight[2 * stride], left, right, ref c0, ref c1);
                Multiply(weight[3 * stride], left, right, ref d0, ref d1);
                Multiply(weight[4 * stride], left, right, ref e0, ref e1);
                Multiply(weight[5 * stride], left, right, ref f0, ref f1);
                Multiply(weight[6 * stride], left, right, ref g0, ref g1);
                Multiply(weight[7 * stride], left, right, ref h0, ref h1);
            }

            var target = result + d;
            Store(target, a0, a1);
            Store(target + size, b0, b1);
            Store(target + (2 * size), c0, c1);
            Store(target + (3 * size), d0, d1);
            Store(target + (4 * size), e0, e1);
            Store(target + (5 * size), f0, f1);
            Store(target + (6 * size), g0, g1);
            Store(target + (7 * size), h0, h1);
        }
    }

    /// <summary><c>sums[j, d] += Σ_r weights[r, j] · rows[r, d]</c> for the first <paramref name="keys"/> positions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Spread(float* weights, int stride, int keys, float* rows, int size, float* sums)
    {
        for (var d = 0; d < size; d += Columns)
        {
            var row = rows + d;
            Vector512<float> a0 = Vector512.Load(row), a1 = Vector512.Load(row + 16);
            Vector512<float> b0 = Vector512.Load(row + size), b1 = Vector512.Load(row + size + 16);
            Vector512<float> c0 = Vector512.Load(row + (2 * size)), c1 = Vector512.Load(row + (2 * size) + 16);
            Vector512<float> d0 = Vector512.Load(row + (3 * size)), d1 = Vector512.Load(row + (3 * size) + 16);
            Vector512<float> e0 = Vector512.Load(row + (4 * size)), e1 = Vector512.Load(row + (4 * size) + 16);
            Vector512<float> f0 = Vector512.Load(row + (5 * size)), f1 = Vector512.Load(row + (5 * size) + 16);
            Vector512<float> g0 = Vector512.Load(row + (6 * size)), g1 = Vector512.Load(row + (6 * size) + 16);
            Vector512<float> h0 = Vector512.Load(row + (7 * size)), h1 = Vector512.Load(row + (7 * size) + 16);
            var sum = sums + d;
            for (var j = 0; j < keys; j++, sum += size)
            {
                var weight = weights + j;
                var left = Vector512.Load(sum);
                var right = Vector512.Load(sum + 16);
                Multiply(weight[0], a0, a1, ref left, ref right);
                Multiply(weight[stride], b0, b1, ref left, ref right);
                Multiply(weight[2 * stride], c0, c1, ref left, ref right);
                Multiply(weight[3 * stride], d0, d1, ref left, ref right);
                Multiply(weight[4 * stride], e0, e1, ref left, ref right);
                Multiply(weight[5 * stride], f0, f1, ref left, ref right);
                Multiply(weight[6 * stride], g0, g1, ref left, ref right);
                Multiply(weight[7 * stride], h0, h1, ref left, ref right);
                Store(sum, left, right);
            }
        }
    }

    /// <summary>
    /// Replaces the first <paramref name="seen"/> scores of a row by <c>exp(score − shift)</c> and the rest up to
    /// <paramref name="keys"/> by zero; returns the sum.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Exponentials(float* scores, int seen, int keys, float shift)
    {
        var sum = Vector512<float>.Zero;
        var offset = Vector512.Create(shift);
        var lanes = Vector512<int>.Indices;
        for (var j = 0; j < keys; j += 16)
        {
            var value = Lanes.Exponential(Vector512.Load(scores + j) - offset);
            value = Vector512.ConditionalSelect(Vector512.LessThan(lanes, Vector512.Create(seen - j)).AsSingle(), value, Vector512<float>.Zero);
            value.Store(scores + j);
            sum += value;
        }

        return Vector512.Sum(sum);
    }

    /// <summary>Largest of the first <paramref name="seen"/> scores, at least one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Largest(float* scores, int seen)
    {
        var largest = Vector512.Create(float.NegativeInfinity);
        var j = 0;
        for (; j + 16 <= seen; j += 16)
            largest = Vector512.Max(largest, Vector512.Load(scores + j));
        var result = float.NegativeInfinity;
        for (var lane = 0; lane < 16; lane++)
            result = MathF.Max(result, largest[lane]);
        for (; j < seen; j++)
            result = MathF.Max(result, scores[j]);
        return result;
    }

    /// <summary><c>slopes[j] = weights[j] · (slopes[j] − mean)</c>: the derivative of the softmax of a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void SoftmaxSlopes(float* slopes, float* weights, int keys, float mean)
    {
        var offset = Vector512.Create(mean);
        for (var j = 0; j < keys; j += 16)
            (Vector512.Load(weights + j) * (Vector512.Load(slopes + j) - offset)).Store(slopes + j);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(float factor, Vector512<float> left, Vector512<float> right, ref Vector512<float> first, ref Vector512<float> second)
    {
        var all = Vector512.Create(factor);
        first = Vector512.FusedMultiplyAdd(all, left, first);
        second = Vector512.FusedMultiplyAdd(all, right, second);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* target, Vector512<float> left, Vector512<float> right)
    {
        left.Store(target);
        right.Store(target + 16);
    }
}
