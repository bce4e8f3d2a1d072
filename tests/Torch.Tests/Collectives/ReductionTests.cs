using System.Runtime.InteropServices;
using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>The vectorised kernels beside their scalar meaning.</summary>
public sealed class ReductionTests
{
    [Fact]
    public void Bfloat16_sums_are_rounded_once_from_binary32()
    {
        // 256 + 1 + 1: rounding after each step would stay at 256, as bfloat16 has 8 bits of mantissa.
        Assert.Equal(ToBFloat16(258), Reduce(ReduceOperation.Sum, [ToBFloat16(256)], [ToBFloat16(1)], [ToBFloat16(1)])[0]);
    }

    [Fact]
    public void Every_bfloat16_pattern_survives_a_reduction_of_one_rank_alone_and_in_vectors()
    {
        var all = Enumerable.Range(0, 65536).Select(x => (ushort)x).ToArray();
        var result = Reduce(ReduceOperation.Sum, all);
        for (var i = 0; i < all.Length; i++)
        {
            if (float.IsNaN(Reduction.FromBFloat16(all[i])))
                Assert.True(float.IsNaN(Reduction.FromBFloat16(result[i])));
            else
                Assert.Equal(all[i], result[i]);
            Assert.Equal(result[i], Reduce(ReduceOperation.Sum, [all[i]])[0]);
        }
    }

    [Fact]
    public void Rounding_to_bfloat16_goes_to_the_nearest_and_ties_to_even_alone_and_in_vectors()
    {
        var random = new Random(7);
        for (var round = 0; round < 200; round++)
        {
            var left = Enumerable.Range(0, 37).Select(_ => ToBFloat16((float)(random.NextDouble() * 1000))).ToArray();
            var right = Enumerable.Range(0, 37).Select(_ => ToBFloat16((float)(random.NextDouble() * 10))).ToArray();
            var sums = Reduce(ReduceOperation.Sum, left, right);
            for (var i = 0; i < sums.Length; i++)
                Assert.Equal(Reference.RoundToBFloat16(Reduction.FromBFloat16(left[i]) + Reduction.FromBFloat16(right[i])), sums[i]);
        }
    }

    [Theory]
    [InlineData(ReduceOperation.Max, 0.0f)]
    [InlineData(ReduceOperation.Min, -0.0f)]
    public void Extremes_order_signed_zeros_and_spread_nan_alone_and_in_vectors(ReduceOperation operation, float expectedZero)
    {
        foreach (var length in (int[])[1, 200])
        {
            var zeros = Enumerable.Repeat(0.0f, length).ToArray();
            var negatives = Enumerable.Repeat(-0.0f, length).ToArray();
            var nans = Enumerable.Repeat(float.NaN, length).ToArray();
            Assert.All(Reduce(operation, zeros, negatives), x => Assert.Equal(BitConverter.SingleToInt32Bits(expectedZero), BitConverter.SingleToInt32Bits(x)));
            Assert.All(Reduce(operation, negatives, zeros), x => Assert.Equal(BitConverter.SingleToInt32Bits(expectedZero), BitConverter.SingleToInt32Bits(x)));
            Assert.All(Reduce(operation, nans, zeros), x => Assert.True(float.IsNaN(x)));
            Assert.All(Reduce(operation, zeros, nans), x => Assert.True(float.IsNaN(x)));
        }
    }

    [Fact]
    public void A_buffer_may_be_cut_anywhere_without_changing_a_bit()
    {
        foreach (var element in Enum.GetValues<CollectiveElement>())
        {
            var inputs = Cases.Inputs(3, 1000, element);
            var whole = Cases.Reduction(3, 1000, element, ReduceOperation.Sum);
            for (var cut = 0; cut <= 1000; cut += 37)
            {
                using var first = HostBuffer.Of(inputs[0], element);
                using var second = HostBuffer.Of(inputs[1], element);
                using var third = HostBuffer.Of(inputs[2], element);
                Fold(first.Buffer.Slice(0, cut), second.Buffer.Slice(0, cut), third.Buffer.Slice(0, cut));
                Fold(first.Buffer.Slice(cut, 1000 - cut), second.Buffer.Slice(cut, 1000 - cut), third.Buffer.Slice(cut, 1000 - cut));
                Assert.Equal(whole, first.ToBytes());
            }
        }

        static void Fold(CollectiveBuffer first, CollectiveBuffer second, CollectiveBuffer third) =>
            Reduction.Fold(first.Element, ReduceOperation.Sum, [first.Address, second.Address, third.Address], first.Address, first.Count);
    }

    private static ushort ToBFloat16(float value) => Reduction.ToBFloat16(value);

    private static ushort[] Reduce(ReduceOperation operation, params ushort[][] inputs) => Reduce(CollectiveElement.BFloat16, operation, inputs);

    private static float[] Reduce(ReduceOperation operation, params float[][] inputs) => Reduce(CollectiveElement.Float32, operation, inputs);

    private static T[] Reduce<T>(CollectiveElement element, ReduceOperation operation, T[][] inputs)
        where T : unmanaged
    {
        var buffers = inputs.Select(input => HostBuffer.Of(MemoryMarshal.AsBytes(input.AsSpan()).ToArray(), element)).ToArray();
        using var result = new HostBuffer(inputs[0].Length, element);
        Reduction.Fold(element, operation, [.. buffers.Select(buffer => buffer.Buffer.Address)], result.Buffer.Address, result.Buffer.Count);
        foreach (var buffer in buffers)
            buffer.Dispose();
        return MemoryMarshal.Cast<byte, T>(result.ToBytes()).ToArray();
    }
}
