using Platform.Core.Models;
using Platform.Torch.Models.Llama;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Models;

public sealed class RotaryEmbeddingTests
{
    [Theory]
    [InlineData(ScalarType.Float64, 1e-14)]
    [InlineData(ScalarType.Float32, 1e-6)]
    [InlineData(ScalarType.BFloat16, 2e-2)]
    public void Turns_halves_together_by_the_position(ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var config = ModelConfigs.Tiny;
        using var rotary = new RotaryEmbedding(config, 64, type, CPU);
        const int heads = 3, length = 9;
        var first = inputs.Between(0, 55);
        var x = inputs.Tensor(type, 1, heads, length, config.HeadDim);

        var expected = ScalarLlama.Rotate(config, Compare.Values(x), heads, length, first);

        Compare.Near(expected, rotary.Rotate(x, first), tolerance);
    }

    [Fact]
    public void The_dot_product_of_rotated_vectors_depends_on_their_distance_only()
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        using var rotary = new RotaryEmbedding(ModelConfigs.Tiny, 64, ScalarType.Float64, CPU);
        var query = inputs.Tensor(ScalarType.Float64, 1, 1, 1, 8);
        var key = inputs.Tensor(ScalarType.Float64, 1, 1, 1, 8);
        double Dot(int at, int distance) =>
            (rotary.Rotate(query, at + distance) * rotary.Rotate(key, at)).sum().item<double>();
        Assert.Equal(Dot(0, 5), Dot(40, 5), 1e-12);
        Assert.NotEqual(Dot(0, 5), Dot(0, 6), 1e-6);
    }

    [Fact]
    public void Linear_rescaling_divides_every_frequency()
    {
        var plain = RotaryEmbedding.InverseFrequencies(ModelConfigs.Tiny);
        var scaled = RotaryEmbedding.InverseFrequencies(ModelConfigs.Tiny with { RopeScaling = new RopeScaling("linear", 4) });
        Assert.Equal(plain.Select(frequency => frequency / 4), scaled);
    }

    [Fact]
    public void Llama3_rescaling_keeps_short_wavelengths_divides_long_ones_and_blends_between()
    {
        var config = ModelConfigs.Tiny with { HeadDim = 128, RopeTheta = 500_000 };
        var plain = RotaryEmbedding.InverseFrequencies(config);
        var scaled = RotaryEmbedding.InverseFrequencies(config with { RopeScaling = new RopeScaling("llama3", 8, 1, 4, 8192) });
        for (var d = 0; d < plain.Length; d++)
        {
            var wavelength = 2 * Math.PI / plain[d];
            double expected;
            if (wavelength < 8192.0 / 4)
                expected = plain[d];
            else if (wavelength > 8192.0)
                expected = plain[d] / 8;
            else
            {
                var smooth = ((8192.0 / wavelength) - 1) / (4 - 1);
                expected = ((1 - smooth) * plain[d] / 8) + (smooth * plain[d]);
            }

            Assert.Equal(expected, scaled[d], expected * 1e-14);
        }
    }

    [Fact]
    public void Another_rescaling_is_refused_by_name() =>
        Assert.Contains("longrope", Assert.Throws<NotSupportedException>(() =>
            RotaryEmbedding.InverseFrequencies(ModelConfigs.Tiny with { RopeScaling = new RopeScaling("longrope", 4) })).Message);

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Dynamic_rescaling_raises_the_base_only_beyond_the_models_context(int length)
    {
        using var scope = NewDisposeScope();
        var config = ModelConfigs.Tiny with { HeadDim = 64, RopeScaling = new RopeScaling("dynamic", 1.5) };
        Assert.Equal(RotaryEmbedding.InverseFrequencies(config with { RopeScaling = null }), RotaryEmbedding.InverseFrequencies(config));

        using var rotary = new RotaryEmbedding(config, length, ScalarType.Float64, CPU);

        // base · (factor·length/context − (factor − 1))^(D / (D − 2)), 10000 · 2.5^(64/62) for twice the context.
        var expected = length == 64 ? 10_000 : 10_000 * Math.Pow(2.5, 64.0 / 62);
        for (var d = 0; d < 32; d++)
            Assert.Equal(Math.Sin(Math.Pow(expected, -d / 32.0)), rotary.Sine_PD[1, d].item<double>(), 1e-14);
    }

    [Fact]
    public void Yarn_keeps_fast_pairs_divides_slow_ones_and_multiplies_the_tables()
    {
        using var scope = NewDisposeScope();
        var config = ModelConfigs.Tiny with { HeadDim = 128, RopeTheta = 1_000_000, RopeScaling = new RopeScaling("yarn", 4, OriginalMaxPositionEmbeddings: 32_768) };
        var plain = RotaryEmbedding.InverseFrequencies(config with { RopeScaling = null });
        var scaled = RotaryEmbedding.InverseFrequencies(config);

        // Pairs that make 32 turns and one turn within 32768 tokens: 128·ln(32768 / (turns·2π)) / (2·ln 10⁶) = 23.6 and 39.6.
        const int low = 23, high = 40;
        for (var d = 0; d < plain.Length; d++)
        {
            var expected = d <= low ? plain[d] : d >= high ? plain[d] / 4
                : (plain[d] / 4 * (d - low) / (high - low)) + (plain[d] * (high - d) / (high - low));
            Assert.Equal(expected, scaled[d], expected * 1e-13);
        }

        using var rotary = new RotaryEmbedding(config, 2, ScalarType.Float64, CPU);
        Assert.Equal((0.1 * Math.Log(4)) + 1, rotary.Cosine_PD[0, 0].item<double>(), 1e-15);
        Assert.Equal(1.5, RotaryEmbedding.AttentionFactor(config with { RopeScaling = new RopeScaling("yarn", 4, AttentionFactor: 1.5) }));
    }

    [Fact]
    public void A_position_beyond_the_tables_is_refused()
    {
        using var scope = NewDisposeScope();
        using var rotary = new RotaryEmbedding(ModelConfigs.Tiny, 16, ScalarType.Float32, CPU);
        Assert.Throws<ArgumentOutOfRangeException>(() => rotary.Rotate(ones(1, 1, 4, 8), 13));
    }
}
