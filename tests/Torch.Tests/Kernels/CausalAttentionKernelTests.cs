using Platform.Torch.Kernels;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Kernels;

public sealed class CausalAttentionKernelTests
{
    private static void RequireVectors() =>
        Assert.SkipUnless(System.Runtime.Intrinsics.Vector512.IsHardwareAccelerated, "This machine has no 512-bit vectors.");

    [Theory]
    [InlineData(ScalarType.Float32, 1, 1, 32)]
    [InlineData(ScalarType.Float32, 4, 2, 64)]
    [InlineData(ScalarType.Float32, 6, 2, 96)]
    [InlineData(ScalarType.BFloat16, 4, 4, 32)]
    [InlineData(ScalarType.BFloat16, 6, 2, 96)]
    public void The_result_follows_the_formula_at_any_length(ScalarType type, int heads, int keyValueHeads, int size)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        foreach (var length in new[] { 1, 8, 31, 32, inputs.Between(33, 100) })
        {
            var (query, key, value) = Inputs(inputs, type, 2, heads, keyValueHeads, length, size);

            var (result, _) = CausalAttentionKernel.Forward(query, key, value);

            for (var b = 0; b < 2; b++)
                Compare.Near(Reference(query[b], key[b], value[b]), result[b].transpose(0, 1), 10 * Compare.Epsilon(type));
        }
    }

    [Theory]
    [InlineData(ScalarType.Float32, 4, 2, 32, 2e-6)]
    [InlineData(ScalarType.Float32, 3, 1, 64, 2e-6)]
    [InlineData(ScalarType.BFloat16, 4, 2, 32, 2e-2)]
    [InlineData(ScalarType.BFloat16, 3, 1, 64, 2e-2)]
    public void The_gradients_are_those_of_double_precision_autograd(ScalarType type, int heads, int keyValueHeads, int size, double tolerance)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        foreach (var length in new[] { 3, 9, inputs.Between(10, 90) }) // a single position has no gradient to compare
        {
            var (query, key, value) = Inputs(inputs, type, 2, heads, keyValueHeads, length, size);
            var direction = inputs.Tensor(type, 2, length, heads, size);
            Tensor[] exact = [.. new[] { query, key, value }.Select(x => x.to(ScalarType.Float64).detach().requires_grad_())];
            var expected = autograd.grad(
                [Ops.ScaledDotProductAttention(exact[0], exact[1], exact[2], null, true, null)], exact,
                [direction.to(ScalarType.Float64).transpose(1, 2)]);

            var (result, logSums) = CausalAttentionKernel.Forward(query, key, value);
            // Written side by side, as a training step keeps them: strided like the inputs.
            var (dQuery, dKey, dValue) = Inputs(inputs, type, 2, heads, keyValueHeads, length, size);
            CausalAttentionKernel.Backward(direction, query, key, value, result, logSums, dQuery, dKey, dValue);

            Compare.Near(Compare.Values(expected[0]), dQuery, tolerance);
            Compare.Near(Compare.Values(expected[1]), dKey, tolerance);
            Compare.Near(Compare.Values(expected[2]), dValue, tolerance);
        }
    }

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void A_heads_bits_do_not_depend_on_the_other_heads_or_on_threads(ScalarType type)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (query, key, value) = Inputs(inputs, type, 3, 4, 2, 50, 32);
        var whole = CausalAttentionKernel.Forward(query, key, value).Result_BTHD;
        var part = CausalAttentionKernel.Forward(query.narrow(0, 1, 1).narrow(1, 2, 2), key.narrow(0, 1, 1).narrow(1, 1, 1), value.narrow(0, 1, 1).narrow(1, 1, 1)).Result_BTHD;
        Compare.SameBits(whole.narrow(0, 1, 1).narrow(2, 2, 2), part);
    }

    [Theory]
    [InlineData(1, 33)]
    [InlineData(2, 71)]
    public void Gradients_in_bf16_are_those_of_the_kernel_in_fp32_within_the_rounding_of_weights_and_slopes(int group, int length)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (query, key, value) = Inputs(inputs, ScalarType.BFloat16, 2, 2 * group, 2, length, 64);
        var direction = inputs.Tensor(ScalarType.BFloat16, 2, length, 2 * group, 64);

        var narrow = Gradients(query, key, value, direction);
        var wide = Gradients(Wide(query), Wide(key), Wide(value), Wide(direction));

        for (var i = 0; i < narrow.Length; i++)
        {
            var (found, expected) = (Compare.Values(narrow[i]), Compare.Values(wide[i]));
            var norm = Math.Sqrt(expected.Sum(x => x * x));
            var error = Math.Sqrt(found.Zip(expected, (a, b) => (a - b) * (a - b)).Sum());
            Assert.True(error < Compare.Epsilon(ScalarType.BFloat16) * norm, $"Gradient {i}: {error / norm:e2}.");
        }

        static Tensor Wide(Tensor x) => x.to(ScalarType.Float32);

        static Tensor[] Gradients(Tensor query, Tensor key, Tensor value, Tensor direction)
        {
            var (result, logSums) = CausalAttentionKernel.Forward(query, key, value);
            Tensor[] gradients = [empty_like(query), empty_like(key), empty_like(value)];
            CausalAttentionKernel.Backward(direction, query, key, value, result, logSums, gradients[0], gradients[1], gradients[2]);
            return [result, .. gradients];
        }
    }

    [Fact]
    public void Large_scores_neither_overflow_nor_lose_the_largest()
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var (query, key, value) = Inputs(new SeededInputs(), ScalarType.Float32, 1, 1, 1, 40, 32);
        query.mul_(100);
        key.mul_(100);
        var (result, logSums) = CausalAttentionKernel.Forward(query, key, value);
        Compare.Near(Reference(query[0], key[0], value[0]), result[0].transpose(0, 1), 1e-4);
        Assert.All(Compare.Values(logSums), sum => Assert.True(double.IsFinite(sum)));
    }

    [Fact]
    public void Arguments_that_do_not_fit_are_refused()
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var query = ones(1, 4, 8, 32);
        Assert.False(CausalAttentionKernel.Supports(ones(1, 4, 8, 24)));
        Assert.False(CausalAttentionKernel.Supports(ones([1, 4, 8, 32], ScalarType.Float64)));
        Assert.Throws<ArgumentException>(() => CausalAttentionKernel.Forward(query, ones(1, 3, 8, 32), ones(1, 3, 8, 32)));
        Assert.Throws<ArgumentException>(() => CausalAttentionKernel.Forward(query, ones(1, 2, 9, 32), ones(1, 2, 9, 32)));
        Assert.Throws<ArgumentException>(() => CausalAttentionKernel.Forward(query, query.to(ScalarType.BFloat16), query));
        Assert.Throws<ArgumentException>(() => CausalAttentionKernel.Forward(query, ones(1, 4, 32, 8).transpose(2, 3), query));
        Assert.Throws<ArgumentException>(() => CausalAttentionKernel.Backward(
            ones(1, 8, 4, 32), query, query, query, ones(1, 8, 4, 32), ones(1, 4, 7), query, query, query));
    }

    /// <summary>Views of one tensor that holds queries, keys and values side by side, position by position.</summary>
    private static (Tensor Query, Tensor Key, Tensor Value) Inputs(
        SeededInputs inputs, ScalarType type, int batch, int heads, int keyValueHeads, int length, int size)
    {
        var packed = inputs.Tensor(type, batch, length, heads + (2 * keyValueHeads), size);
        return (
            packed.narrow(2, 0, heads).transpose(1, 2),
            packed.narrow(2, heads, keyValueHeads).transpose(1, 2),
            packed.narrow(2, heads + keyValueHeads, keyValueHeads).transpose(1, 2));
    }

    private static double[] Reference(Tensor query, Tensor key, Tensor value)
    {
        int heads = (int)query.shape[0], keyValueHeads = (int)key.shape[0], size = (int)query.shape[2];
        return ScalarMath.Attention(
            Compare.Values(query), Compare.Values(key), Compare.Values(value), heads, keyValueHeads, size, 1 / Math.Sqrt(size), (t, s) => s <= t);
    }
}
