using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Operators;

public sealed class AttentionOpsTests
{
    [Theory]
    [InlineData(ScalarType.Float64, 4, 4)]
    [InlineData(ScalarType.Float64, 6, 2)]
    [InlineData(ScalarType.Float32, 6, 2)]
    [InlineData(ScalarType.BFloat16, 4, 1)]
    public void Causal_attention_with_grouped_heads_and_a_scale_follows_the_formula(ScalarType type, int heads, int keyValueHeads)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        int length = inputs.Between(1, 40), size = 8 * inputs.Between(1, 4);
        var query = inputs.Tensor(type, 2, heads, length, size);
        var key = inputs.Tensor(type, 2, keyValueHeads, length, size);
        var value = inputs.Tensor(type, 2, keyValueHeads, length, size);

        var result = Ops.ScaledDotProductAttention(query, key, value, null, isCausal: true, scale: 0.3);

        for (var b = 0; b < 2; b++)
            Compare.Near(
                ScalarMath.Attention(
                    Compare.Values(query[b]), Compare.Values(key[b]), Compare.Values(value[b]), heads, keyValueHeads, size, 0.3, (t, s) => s <= t),
                result[b], 30 * Compare.Epsilon(type));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_mask_decides_what_is_seen(bool additive)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        const int heads = 4, keyValueHeads = 2, queries = 3, keys = 7, size = 16;
        var query = inputs.Tensor(ScalarType.Float64, 1, heads, queries, size);
        var key = inputs.Tensor(ScalarType.Float64, 1, keyValueHeads, keys, size);
        var value = inputs.Tensor(ScalarType.Float64, 1, keyValueHeads, keys, size);
        static bool Allowed(int t, int s) => (s + t) % 3 != 0;
        var allowed = new byte[queries * keys];
        for (var i = 0; i < allowed.Length; i++)
            allowed[i] = Allowed(i / keys, i % keys) ? (byte)1 : (byte)0;
        var mask = TensorMemory.FromSpan<byte>(allowed, [queries, keys], ScalarType.Bool);
        if (additive)
            mask = zeros([queries, keys], ScalarType.Float64).masked_fill(mask.logical_not(), double.NegativeInfinity);

        var result = Ops.ScaledDotProductAttention(query, key, value, mask, isCausal: false, scale: null);

        Compare.Near(
            ScalarMath.Attention(
                Compare.Values(query), Compare.Values(key), Compare.Values(value), heads, keyValueHeads, size, 1 / Math.Sqrt(size), Allowed),
            result, 1e-14);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(2)]
    public void Records_the_gradient_of_the_formula(int keyValueHeads)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        const int heads = 4, length = 5, size = 4;
        Tensor[] leaves =
        [
            inputs.Tensor(ScalarType.Float64, 1, heads, length, size).requires_grad_(),
            inputs.Tensor(ScalarType.Float64, 1, keyValueHeads, length, size).requires_grad_(),
            inputs.Tensor(ScalarType.Float64, 1, keyValueHeads, length, size).requires_grad_(),
        ];
        var direction = inputs.Tensor(ScalarType.Float64, 1, heads, length, size);

        var gradients = autograd.grad(
            [(Ops.ScaledDotProductAttention(leaves[0], leaves[1], leaves[2], null, true, 0.4) * direction).sum()], leaves);

        for (var i = 0; i < leaves.Length; i++)
        {
            var position = i;
            var values = leaves.Select(Compare.Values).ToArray();
            Compare.Near(
                ScalarMath.NumericGradient(values[i], moved =>
                {
                    var all = values.ToArray();
                    all[position] = moved;
                    return ScalarMath.Attention(all[0], all[1], all[2], heads, keyValueHeads, size, 0.4, (t, s) => s <= t)
                        .Zip(Compare.Values(direction), (a, b) => a * b).Sum();
                }),
                gradients[i], 1e-6);
        }
    }

    [Fact]
    public void Arguments_that_would_crash_native_code_are_refused()
    {
        using var scope = NewDisposeScope();
        var query = ones(1, 4, 3, 8);
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query, ones(1, 3, 3, 8), ones(1, 3, 3, 8), null, true, null));
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query, ones(1, 2, 5, 8), ones(1, 2, 5, 8), null, true, null));
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query, ones(1, 4, 3, 8), ones(1, 4, 4, 8), null, false, null));
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query, ones(1, 4, 3, 4), ones(1, 4, 3, 4), null, false, null));
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query, query, query, ones(2, 3), false, null));
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query, query, query, ones([3, 3], ScalarType.Int64), false, null));
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query, query, query.to(ScalarType.Float64), null, false, null));
        Assert.Throws<ArgumentException>(() => Ops.ScaledDotProductAttention(query[0], query[0], query[0], null, false, null));
    }
}
