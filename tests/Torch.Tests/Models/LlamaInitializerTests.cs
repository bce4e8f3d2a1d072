using Platform.Torch.Models.Llama;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Models;

public sealed class LlamaInitializerTests
{
    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Every_slice_has_the_bits_of_the_whole(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var config = ModelConfigs.Qwen2;
        foreach (var parameter in LlamaParameters.All(config))
        {
            var whole = LlamaInitializer.Create(config, parameter, parameter.Whole, 7, type);
            foreach (var width in new[] { 2, 4 })
            {
                for (var rank = 0; rank < width; rank++)
                {
                    var slice = parameter.SliceFor(rank, width);
                    var part = LlamaInitializer.Create(config, parameter, slice, 7, type);
                    Compare.SameBits(
                        whole.narrow(slice.Dimension, slice.Start, slice.Length).contiguous(),
                        part.narrow(slice.Dimension, 0, slice.Length).contiguous());
                    var padding = part.narrow(slice.Dimension, slice.Length, slice.PaddedLength - slice.Length);
                    Assert.All(Compare.Values(padding), value => Assert.Equal(0, value));
                }
            }
        }
    }

    [Fact]
    public void Any_stretch_of_the_stream_equals_the_whole()
    {
        var inputs = new SeededInputs();
        var stream = new NormalStream(inputs.Seed, "weight");
        var whole = new double[200];
        stream.Fill(whole, 1000, 1);
        for (var trial = 0; trial < 100; trial++)
        {
            int start = inputs.Between(0, 199), length = inputs.Between(0, 200 - start);
            var part = new double[length];
            stream.Fill(part, 1000 + start, 1);
            Assert.Equal(whole.AsSpan(start, length).ToArray(), part);
            var single = new float[length];
            stream.Fill(single, 1000 + start, 1);
            Assert.Equal(part.Select(value => (float)value), single);
        }
    }

    [Fact]
    public void An_element_is_the_transform_of_its_hash_as_the_formula_says()
    {
        var inputs = new SeededInputs();
        var values = new double[64];
        new NormalStream(inputs.Seed, "model.layers.3.mlp.up_proj.weight").Fill(values, 123_456_789_012, 1);
        for (var i = 0; i < values.Length; i++)
            Assert.Equal(ScalarNormal.Element(inputs.Seed, "model.layers.3.mlp.up_proj.weight", 123_456_789_012 + i), values[i], 1e-13);
    }

    [Fact]
    public void Known_elements_never_change() =>
        Assert.Equal(Golden, Enumerable.Range(0, 4).Select(i =>
        {
            var value = new double[1];
            new NormalStream(42, "model.embed_tokens.weight").Fill(value, i, 1);
            return BitConverter.DoubleToInt64Bits(value[0]);
        }));

    [Fact]
    public void The_numbers_are_standard_normal_and_differ_by_seed_and_name()
    {
        const int count = 1 << 20;
        var values = new double[count];
        new NormalStream(1, "a").Fill(values, 0, 1);
        Assert.Equal(0, values.Average(), 6 / Math.Sqrt(count));
        Assert.Equal(1, values.Average(value => value * value), 9 / Math.Sqrt(count));
        Assert.Equal(3, values.Average(value => value * value * value * value), 60 / Math.Sqrt(count));
        Assert.Equal(0.6827, values.Count(value => Math.Abs(value) < 1) / (double)count, 3 / Math.Sqrt(count));
        Assert.Equal(0.0027, values.Count(value => Math.Abs(value) > 3) / (double)count, 0.0004);
        Assert.Equal(0, values.Zip(values.Skip(1), (a, b) => a * b).Average(), 6 / Math.Sqrt(count));

        foreach (var other in new[] { new NormalStream(2, "a"), new NormalStream(1, "b") })
        {
            var others = new double[count];
            other.Fill(others, 0, 1);
            Assert.Equal(0, values.Zip(others, (a, b) => a * b).Average(), 6 / Math.Sqrt(count));
        }
    }

    [Fact]
    public void Norms_are_one_biases_zero_and_residual_projections_smaller()
    {
        using var scope = NewDisposeScope();
        var config = ModelConfigs.Qwen2 with { HiddenSize = 256, IntermediateSize = 512 };
        foreach (var parameter in LlamaParameters.OfLayer(config, 1))
        {
            var values = Compare.Values(LlamaInitializer.Create(config, parameter, parameter.Whole, 5, ScalarType.Float32));
            var deviation = Math.Sqrt(values.Average(value => value * value));
            switch (parameter.Role)
            {
                case LlamaRole.InputNorm or LlamaRole.PostAttentionNorm:
                    Assert.All(values, value => Assert.Equal(1, value));
                    break;
                case LlamaRole.QueryBias or LlamaRole.KeyBias or LlamaRole.ValueBias:
                    Assert.All(values, value => Assert.Equal(0, value));
                    break;
                case LlamaRole.AttentionOutput or LlamaRole.Down:
                    Assert.Equal(0.02 / Math.Sqrt(6), deviation, 0.0006);
                    break;
                default:
                    Assert.Equal(0.02, deviation, 0.0015);
                    break;
            }
        }
    }

    private static readonly long[] Golden =
        [4601944732107359163, 4606754179676820540, 4608438560317367612, -4615789679668000857];
}
