using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Platform.Serving.Execution;

/// <summary>
/// Causal attention of up to four query rows of one key/value head over that head's blocks:
/// <c>softmax(q·kᵀ)·v</c>, the scale being part of q. A row's scores are sums over the head's elements in order, its softmax
/// runs over groups of 16 keys by absolute position, and its values are added position by position. None of that depends on
/// the other rows, on where a prompt was cut, or on which blocks hold the keys, so the bits never do either.
/// </summary>
internal static unsafe class PagedAttention
{
    /// <summary>Most rows of one call.</summary>
    public const int MaxRows = 4;

    private const int Lanes = 16;
    private const int LineBytes = 64;

    // How far ahead values are asked for: two blocks take about as long to use as memory takes to answer.
    private const int BlocksAhead = 2;

    /// <summary>Floats of scratch that a call needs for a context of this many tokens.</summary>
    public static int ScratchFloats(int context) => MaxRows * RoundUp(context);

    /// <summary>Attends.</summary>
    /// <param name="shape">Shape of the cache.</param>
    /// <param name="keys">Keys of the layer.</param>
    /// <param name="values">Values of the layer.</param>
    /// <param name="blocks">The sequence's blocks.</param>
    /// <param name="head">Key/value head.</param>
    /// <param name="queries">Rows of D floats, already scaled.</param>
    /// <param name="limits">For each row, how many positions it attends to; at least 1.</param>
    /// <param name="rows">Number of rows, 1 to <see cref="MaxRows"/>.</param>
    /// <param name="results">Where each row's D elements go.</param>
    /// <param name="scratch">At least <see cref="ScratchFloats"/> of the largest limit.</param>
    public static void Attend<T>(
        KeyValueCacheShape shape, T* keys, T* values, ReadOnlySpan<int> blocks, int head, float** queries, int* limits, int rows,
        T** results, float* scratch)
        where T : unmanaged, IElement<T>
    {
        var longest = 0;
        for (var r = 0; r < rows; r++)
            longest = Math.Max(longest, limits[r]);
        var stride = RoundUp(longest);
        if (rows == MaxRows)
        {
            Score4(shape, keys, blocks, head, queries, longest, scratch, stride);
        }
        else
        {
            for (var r = 0; r < rows; r++)
                Score1(shape, keys, blocks, head, queries[r], limits[r], scratch + (r * stride));
        }

        var inverseSums = stackalloc float[MaxRows];
        for (var r = 0; r < rows; r++)
            inverseSums[r] = Softmax(scratch + (r * stride), limits[r], stride);
        if (rows == MaxRows)
        {
            Mix4(shape, values, blocks, head, scratch, stride, longest, inverseSums, results);
        }
        else
        {
            for (var r = 0; r < rows; r++)
                Mix1(shape, values, blocks, head, scratch + (r * stride), limits[r], inverseSums[r], results[r]);
        }
    }

    private static int RoundUp(int count) => (count + Lanes - 1) / Lanes * Lanes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T* HeadBlock<T>(KeyValueCacheShape shape, T* start, int block, int head)
        where T : unmanaged, IElement<T> => start + ((((long)block * shape.Heads) + head) * shape.HeadBlockElements);

    private static void Score4<T>(
        KeyValueCacheShape shape, T* keys, ReadOnlySpan<int> blocks, int head, float** queries, int count, float* scores, int stride)
        where T : unmanaged, IElement<T>
    {
        float* q0 = queries[0], q1 = queries[1], q2 = queries[2], q3 = queries[3];
        for (var first = 0; first < count; first += Lanes)
        {
            var key = HeadBlock(shape, keys, blocks[first / shape.BlockSize], head) + (first % shape.BlockSize);
            var ahead = Ahead(shape, keys, blocks, head, first + Lanes, count);
            Vector512<float> s0 = default, s1 = default, s2 = default, s3 = default;
            for (var d = 0; d < shape.HeadSize; d++, key += shape.BlockSize)
            {
                if (Sse.IsSupported && d * shape.BlockSize * sizeof(T) % LineBytes == 0)
                    Sse.Prefetch0(ahead + (d * shape.BlockSize));
                var k = T.Load(key);
                s0 = Vector512.FusedMultiplyAdd(Vector512.Create(q0[d]), k, s0);
                s1 = Vector512.FusedMultiplyAdd(Vector512.Create(q1[d]), k, s1);
                s2 = Vector512.FusedMultiplyAdd(Vector512.Create(q2[d]), k, s2);
                s3 = Vector512.FusedMultiplyAdd(Vector512.Create(q3[d]), k, s3);
            }

            s0.Store(scores + first);
            s1.Store(scores + stride + first);
            s2.Store(scores + (2 * stride) + first);
            s3.Store(scores + (3 * stride) + first);
        }
    }

    private static void Score1<T>(
        KeyValueCacheShape shape, T* keys, ReadOnlySpan<int> blocks, int head, float* query, int count, float* scores)
        where T : unmanaged, IElement<T>
    {
        var first = 0;
        // Four groups of keys at a time, so that the sums of one do not wait for those of another.
        for (; first + (3 * Lanes) < count; first += 4 * Lanes)
        {
            var k0 = Group(shape, keys, blocks, head, first);
            var k1 = Group(shape, keys, blocks, head, first + Lanes);
            var k2 = Group(shape, keys, blocks, head, first + (2 * Lanes));
            var k3 = Group(shape, keys, blocks, head, first + (3 * Lanes));
            Vector512<float> s0 = default, s1 = default, s2 = default, s3 = default;
            // Blocks lie anywhere in memory, so the processor does not foresee them: the next four groups are asked for here.
            var n0 = Ahead(shape, keys, blocks, head, first + (4 * Lanes), count);
            var n1 = Ahead(shape, keys, blocks, head, first + (5 * Lanes), count);
            var n2 = Ahead(shape, keys, blocks, head, first + (6 * Lanes), count);
            var n3 = Ahead(shape, keys, blocks, head, first + (7 * Lanes), count);
            for (var d = 0; d < shape.HeadSize; d++)
            {
                if (Sse.IsSupported && d * shape.BlockSize * sizeof(T) % LineBytes == 0)
                {
                    Sse.Prefetch0(n0 + (d * shape.BlockSize));
                    Sse.Prefetch0(n1 + (d * shape.BlockSize));
                    Sse.Prefetch0(n2 + (d * shape.BlockSize));
                    Sse.Prefetch0(n3 + (d * shape.BlockSize));
                }

                var q = Vector512.Create(query[d]);
                var offset = d * shape.BlockSize;
                s0 = Vector512.FusedMultiplyAdd(q, T.Load(k0 + offset), s0);
                s1 = Vector512.FusedMultiplyAdd(q, T.Load(k1 + offset), s1);
                s2 = Vector512.FusedMultiplyAdd(q, T.Load(k2 + offset), s2);
                s3 = Vector512.FusedMultiplyAdd(q, T.Load(k3 + offset), s3);
            }

            s0.Store(scores + first);
            s1.Store(scores + first + Lanes);
            s2.Store(scores + first + (2 * Lanes));
            s3.Store(scores + first + (3 * Lanes));
        }

        for (; first < count; first += Lanes)
        {
            var key = Group(shape, keys, blocks, head, first);
            Vector512<float> s = default;
            for (var d = 0; d < shape.HeadSize; d++, key += shape.BlockSize)
                s = Vector512.FusedMultiplyAdd(Vector512.Create(query[d]), T.Load(key), s);
            s.Store(scores + first);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T* Group<T>(KeyValueCacheShape shape, T* keys, ReadOnlySpan<int> blocks, int head, int first)
        where T : unmanaged, IElement<T> => HeadBlock(shape, keys, blocks[first / shape.BlockSize], head) + (first % shape.BlockSize);

    /// <summary>A group that will be read soon; the last one where there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T* Ahead<T>(KeyValueCacheShape shape, T* start, ReadOnlySpan<int> blocks, int head, int first, int count)
        where T : unmanaged, IElement<T> => Group(shape, start, blocks, head, Math.Min(first, (count - 1) / Lanes * Lanes));

    /// <summary>Asks for the values that a later block has in a row's place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Expect<T>(T* row, int elements)
        where T : unmanaged, IElement<T>
    {
        for (var i = 0; Sse.IsSupported && i < elements; i += LineBytes / sizeof(T))
            Sse.Prefetch0(row + i);
    }

    /// <summary>Turns scores into weights, zero beyond the limit, and returns one over their sum.</summary>
    private static float Softmax(float* scores, int limit, int stride)
    {
        // Whatever lies beyond the limit belongs to positions this row must not see.
        for (var i = limit; i < stride; i++)
            scores[i] = float.NegativeInfinity;
        var padded = RoundUp(limit);
        var maxima = Vector512.Create(float.NegativeInfinity);
        for (var i = 0; i < padded; i += Lanes)
            maxima = Vector512.Max(maxima, Vector512.Load(scores + i));
        var max = float.NegativeInfinity;
        for (var lane = 0; lane < Lanes; lane++)
            max = MathF.Max(max, maxima[lane]);
        var shift = Vector512.Create(max);
        var sums = Vector512<float>.Zero;
        for (var i = 0; i < padded; i += Lanes)
        {
            var weight = Vector512.Exp(Vector512.Load(scores + i) - shift);
            sums += weight;
            weight.Store(scores + i);
        }

        for (var i = padded; i < stride; i++)
            scores[i] = 0;
        return 1 / Vector512.Sum(sums);
    }

    private static void Mix4<T>(
        KeyValueCacheShape shape, T* values, ReadOnlySpan<int> blocks, int head, float* weights, int stride, int count,
        float* inverseSums, T** results)
        where T : unmanaged, IElement<T>
    {
        float* w0 = weights, w1 = weights + stride, w2 = w1 + stride, w3 = w2 + stride;
        var last = (count - 1) / shape.BlockSize;
        for (var d = 0; d < shape.HeadStride; d += 2 * Lanes)
        {
            // The last chunk of an odd number of vectors repeats its vector; the copy is thrown away.
            var second = d + Lanes < shape.HeadStride ? Lanes : 0;
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
            for (var j = 0; j < count;)
            {
                var value = HeadBlock(shape, values, blocks[j / shape.BlockSize], head) + d;
                var ahead = HeadBlock(shape, values, blocks[Math.Min((j / shape.BlockSize) + BlocksAhead, last)], head) + d;
                var end = Math.Min(count, j + shape.BlockSize);
                for (; j < end; j++, value += shape.HeadStride, ahead += shape.HeadStride)
                {
                    Expect(ahead, 2 * Lanes);
                    Vector512<float> a = T.Load(value), b = T.Load(value + second);
                    var p = Vector512.Create(w0[j]);
                    a0 = Vector512.FusedMultiplyAdd(p, a, a0);
                    b0 = Vector512.FusedMultiplyAdd(p, b, b0);
                    p = Vector512.Create(w1[j]);
                    a1 = Vector512.FusedMultiplyAdd(p, a, a1);
                    b1 = Vector512.FusedMultiplyAdd(p, b, b1);
                    p = Vector512.Create(w2[j]);
                    a2 = Vector512.FusedMultiplyAdd(p, a, a2);
                    b2 = Vector512.FusedMultiplyAdd(p, b, b2);
                    p = Vector512.Create(w3[j]);
                    a3 = Vector512.FusedMultiplyAdd(p, a, a3);
                    b3 = Vector512.FusedMultiplyAdd(p, b, b3);
                }
            }

            Put(shape, results[0], d, a0 * inverseSums[0], b0 * inverseSums[0]);
            Put(shape, results[1], d, a1 * inverseSums[1], b1 * inverseSums[1]);
            Put(shape, results[2], d, a2 * inverseSums[2], b2 * inverseSums[2]);
            Put(shape, results[3], d, a3 * inverseSums[3], b3 * inverseSums[3]);
        }
    }

    private static void Mix1<T>(
        KeyValueCacheShape shape, T* values, ReadOnlySpan<int> blocks, int head, float* weights, int count, float inverseSum, T* result)
        where T : unmanaged, IElement<T>
    {
        var last = (count - 1) / shape.BlockSize;
        for (var d = 0; d < shape.HeadStride; d += 4 * Lanes)
        {
            var left = shape.HeadStride - d;
            int o1 = left > Lanes ? Lanes : 0, o2 = left > 2 * Lanes ? 2 * Lanes : 0, o3 = left > 3 * Lanes ? 3 * Lanes : 0;
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
            for (var j = 0; j < count;)
            {
                var value = HeadBlock(shape, values, blocks[j / shape.BlockSize], head) + d;
                var ahead = HeadBlock(shape, values, blocks[Math.Min((j / shape.BlockSize) + BlocksAhead, last)], head) + d;
                var end = Math.Min(count, j + shape.BlockSize);
                for (; j < end; j++, value += shape.HeadStride, ahead += shape.HeadStride)
                {
                    Expect(ahead, 4 * Lanes);
                    var p = Vector512.Create(weights[j]);
                    a0 = Vector512.FusedMultiplyAdd(p, T.Load(value), a0);
                    a1 = Vector512.FusedMultiplyAdd(p, T.Load(value + o1), a1);
                    a2 = Vector512.FusedMultiplyAdd(p, T.Load(value + o2), a2);
                    a3 = Vector512.FusedMultiplyAdd(p, T.Load(value + o3), a3);
                }
            }

            Put(shape, result, d, a0 * inverseSum, a1 * inverseSum);
            if (o2 != 0)
                Put(shape, result, d + (2 * Lanes), a2 * inverseSum, a3 * inverseSum);
        }
    }

    /// <summary>Writes up to two vectors of a head's result, no further than the head is long.</summary>
    private static void Put<T>(KeyValueCacheShape shape, T* result, int d, Vector512<float> first, Vector512<float> second)
        where T : unmanaged, IElement<T>
    {
        PutOne(shape, result, d, first);
        if (d + Lanes < shape.HeadSize)
            PutOne(shape, result, d + Lanes, second);
    }

    private static void PutOne<T>(KeyValueCacheShape shape, T* result, int d, Vector512<float> vector)
        where T : unmanaged, IElement<T>
    {
        if (d + Lanes <= shape.HeadSize)
        {
            T.Store(result + d, vector);
            return;
        }

        for (var i = d; i < shape.HeadSize; i++)
            result[i] = T.FromSingle(vector[i - d]);
    }
}
