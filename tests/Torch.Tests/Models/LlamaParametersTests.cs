using Platform.Torch.Models.Llama;
using Xunit;

namespace Platform.Torch.Tests.Models;

public sealed class LlamaParametersTests
{
    [Theory]
    [InlineData(nameof(ModelConfigs.Tiny))]
    [InlineData(nameof(ModelConfigs.Tied))]
    [InlineData(nameof(ModelConfigs.Qwen2))]
    [InlineData(nameof(ModelConfigs.Qwen3))]
    public void The_list_has_as_many_elements_as_the_model_has_parameters(string name)
    {
        var config = ModelConfigs.ByName(name);
        var parameters = LlamaParameters.All(config);
        Assert.Equal(config.ParameterCount, parameters.Sum(parameter => parameter.ElementCount));
        Assert.Equal(parameters.Length, parameters.Select(parameter => parameter.Name).Distinct().Count());
    }

    [Fact]
    public void Names_are_those_of_hugging_face_in_order_of_use()
    {
        var names = LlamaParameters.All(ModelConfigs.Qwen2 with { NumHiddenLayers = 1, QkNorm = true }).Select(parameter => parameter.Name);
        Assert.Equal(
            [
                "model.embed_tokens.weight",
                "model.layers.0.input_layernorm.weight",
                "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight",
                "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.k_proj.bias", "model.layers.0.self_attn.v_proj.bias",
                "model.layers.0.self_attn.q_norm.weight", "model.layers.0.self_attn.k_norm.weight",
                "model.layers.0.self_attn.o_proj.weight",
                "model.layers.0.post_attention_layernorm.weight",
                "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight",
                "model.norm.weight",
                "lm_head.weight",
            ],
            names);
    }

    [Fact]
    public void A_tied_head_is_the_embedding()
    {
        Assert.Equal(LlamaParameters.EmbeddingName, LlamaParameters.HeadName(ModelConfigs.Tied));
        Assert.DoesNotContain(LlamaParameters.All(ModelConfigs.Tied), parameter => parameter.Role == LlamaRole.Head);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void The_slices_of_a_group_partition_every_weight_that_is_split(int width)
    {
        foreach (var parameter in LlamaParameters.All(ModelConfigs.Tiny))
        {
            var slices = Enumerable.Range(0, width).Select(rank => parameter.SliceFor(rank, width)).ToList();
            if (parameter.Split == TensorSplit.Replicated)
            {
                Assert.All(slices, slice => Assert.Equal(parameter.Whole, slice));
                continue;
            }

            long next = 0;
            foreach (var slice in slices)
            {
                Assert.Equal(next, slice.Start);
                next += slice.Length;
                Assert.Equal(slices[0].PaddedLength, slice.PaddedLength);
            }

            Assert.Equal(parameter.Shape[slices[0].Dimension], next);
        }
    }

    [Fact]
    public void A_vocabulary_that_does_not_divide_is_padded_at_the_end()
    {
        var embedding = LlamaParameters.All(ModelConfigs.Tiny)[0]; // 37 rows
        Assert.Equal(
            [new(0, 0, 10, 10), new(0, 10, 10, 10), new(0, 20, 10, 10), new TensorSlice(0, 30, 7, 10)],
            Enumerable.Range(0, 4).Select(rank => embedding.SliceFor(rank, 4)));
        var tail = (embedding with { Shape = [5, 32] }).SliceFor(3, 4);
        Assert.Equal(new TensorSlice(0, 5, 0, 2), tail);
    }

    [Fact]
    public void Other_dimensions_must_divide() =>
        Assert.Contains(
            "q_proj", Assert.Throws<ArgumentException>(() => LlamaParameters.OfLayer(ModelConfigs.Tiny, 0)[1].SliceFor(0, 3)).Message);
}
