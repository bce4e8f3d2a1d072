using CsCheck;
using Platform.Serving.Execution;

namespace Platform.Serving.Tests.Execution;

public sealed unsafe class KernelTests
{
    [Fact]
    public void Bf16_rounds_to_nearest_even_like_its_scalar_and_reads_back_exactly() => Gen.Float.Array[16, 16].Sample(values =>
    {
        var stored = stackalloc BFloat16Element[16];
        fixed (float* source = values)
            BFloat16Element.Store(stored, System.Runtime.Intrinsics.Vector512.Load(source));
        var loaded = BFloat16Element.Load(stored);
        for (var i = 0; i < 16; i++)
        {
            var expected = Nearest(values[i]);
            Assert.Equal(expected, loaded[i]);
            Assert.Equal(expected, BFloat16Element.ToSingle(BFloat16Element.FromSingle(values[i])));
        }
    }, iter: 5_000, threads: 1);

    [Fact]
    public void Row_kernels_agree_with_double_precision_at_any_width() =>
        Gen.Select(Gen.Int[1, 70], Gen.Int[0, 1000]).Sample((half, seed) =>
        {
            var width = 2 * half;
            var random = new Random(seed);
            float[] row = Row(random, width), weight = Row(random, width), angles = Row(random, half);
            float[] cosine = [.. angles.Select(MathF.Cos)], sine = [.. angles.Select(MathF.Sin)];
            var normalised = new float[width];
            var rotated = new float[width];
            var rotatedNorm = new float[width];
            fixed (float* r = row, w = weight, n = normalised, c = cosine, s = sine, turned = rotated, both = rotatedNorm)
            {
                RowKernels.Normalise(r, w, 1e-5, (Float32Element*)n, width);
                RowKernels.Rotate(r, null, 1e-5, c, s, 0.5f, turned, width);
                RowKernels.Rotate(r, w, 1e-5, c, s, 0.5f, both, width);
            }

            var scale = 1 / Math.Sqrt((row.Sum(x => (double)x * x) / width) + 1e-5);
            double Normalised(int i) => row[i] * scale * weight[i];
            for (var i = 0; i < width; i++)
                Assert.Equal(Normalised(i), normalised[i], 1e-5);
            for (var d = 0; d < half; d++)
            {
                Assert.Equal(0.5 * ((row[d] * cosine[d]) - ((double)row[half + d] * sine[d])), rotated[d], 1e-5);
                Assert.Equal(0.5 * ((row[half + d] * cosine[d]) + ((double)row[d] * sine[d])), rotated[half + d], 1e-5);
                Assert.Equal(0.5 * ((Normalised(half + d) * cosine[d]) + (Normalised(d) * sine[d])), rotatedNorm[half + d], 1e-5);
            }
        }, iter: 500, threads: 1);

    [Fact]
    public void Paged_attention_agrees_with_double_precision_and_does_not_depend_on_its_tile() =>
        Gen.Select(Gen.Int[1, 40].Select(half => 2 * half), Gen.Int[1, 100], Gen.Int[1, 2], Gen.Int[0, 1000]).Sample((size, count, blockGroups, seed) =>
        {
            var random = new Random(seed);
            var shape = new KeyValueCacheShape(1, 2, size, 16 * blockGroups, 32);
            using var cache = new KeyValueCache<Float32Element>(shape);
            int[] blocks = [.. Enumerable.Range(0, 32).OrderBy(_ => random.Next()).Take((count + shape.BlockSize - 1) / shape.BlockSize)];
            var keys = Enumerable.Range(0, count).Select(_ => Row(random, size)).ToArray();
            var values = Enumerable.Range(0, count).Select(_ => Row(random, size)).ToArray();
            for (var j = 0; j < count; j++)
            {
                fixed (float* k = keys[j], v = values[j])
                    cache.Write(0, blocks[j / shape.BlockSize], j % shape.BlockSize, 1, k, v);
            }

            var queries = Enumerable.Range(0, 4).Select(_ => Row(random, size)).ToArray();
            int[] limits = [.. Enumerable.Range(0, 4).Select(_ => 1 + random.Next(count))];
            var together = Attend(cache, blocks, queries, limits);
            for (var r = 0; r < 4; r++)
            {
                Assert.Equal(Attend(cache, blocks, [queries[r]], [limits[r]])[0], together[r]);
                var scores = Enumerable.Range(0, limits[r]).Select(j => Math.Exp(queries[r].Zip(keys[j], (a, b) => (double)a * b).Sum())).ToArray();
                for (var d = 0; d < size; d++)
                    Assert.Equal(Enumerable.Range(0, limits[r]).Sum(j => scores[j] * values[j][d]) / scores.Sum(), together[r][d], 1e-4);
            }
        }, iter: 300, threads: 1);

    [Fact]
    public void Lanes_do_every_item_exactly_once()
    {
        using var lanes = new ComputeLanes(3);
        for (var round = 0; round < 200; round++)
        {
            var done = new int[round];
            lanes.Run(round, parallel: true, (item, _) => Interlocked.Increment(ref done[item]));
            Assert.All(done, count => Assert.Equal(1, count));
        }
    }

    private static float[][] Attend(KeyValueCache<Float32Element> cache, int[] blocks, float[][] queries, int[] limits)
    {
        var size = cache.Shape.HeadSize;
        using var memory = new NativeBuffer(2 * 4 * size * sizeof(float));
        using var scratch = new NativeBuffer(PagedAttention.ScratchFloats(limits.Max()) * sizeof(float));
        var q = stackalloc float*[4];
        var results = stackalloc Float32Element*[4];
        for (var r = 0; r < queries.Length; r++)
        {
            q[r] = memory.Pointer<float>() + (r * size);
            results[r] = memory.Pointer<Float32Element>() + ((4 + r) * size);
            queries[r].CopyTo(new Span<float>(q[r], size));
        }

        fixed (int* limit = limits)
            PagedAttention.Attend(cache.Shape, cache.Keys(0), cache.Values(0), blocks, 1, q, limit, queries.Length, results, scratch.Pointer<float>());
        var rows = new float[queries.Length][];
        for (var r = 0; r < queries.Length; r++)
            rows[r] = new Span<float>(results[r], size).ToArray();
        return rows;
    }

    private static float[] Row(Random random, int width) => [.. Enumerable.Range(0, width).Select(_ => (float)((random.NextDouble() * 2) - 1))];

    /// <summary>The nearest of the two neighbouring bf16 numbers, the even one in the middle.</summary>
    private static float Nearest(float value)
    {
        if (float.IsNaN(value))
            return float.NaN;
        var bits = BitConverter.SingleToUInt32Bits(value);
        var (low, rest) = (bits >> 16, bits & 0xFFFF);
        var up = rest > 0x8000 || (rest == 0x8000 && (low & 1) == 1);
        return BitConverter.UInt32BitsToSingle((low + (up ? 1u : 0u)) << 16);
    }
}
