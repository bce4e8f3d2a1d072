using Platform.Torch.Models.Llama;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Models;

public sealed class LlamaBlocksTests
{
    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Swiglu_and_the_mlp_follow_the_formula(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        const int hidden = 16, inner = 24;
        var x = inputs.Tensor(type, 2, 3, hidden);
        var (gate, up, down) = (inputs.Tensor(type, inner, hidden), inputs.Tensor(type, inner, hidden), inputs.Tensor(type, hidden, inner));

        var gated = ScalarMath.Linear(Compare.Values(x), Compare.Values(gate), null, hidden);
        var raised = ScalarMath.Linear(Compare.Values(x), Compare.Values(up), null, hidden);
        var activated = gated.Zip(raised, (g, u) => ScalarMath.Silu(g) * u).ToArray();

        Compare.Near(activated, LlamaBlocks.SwiGlu(LlamaBlocks.Linear(x, gate, null), LlamaBlocks.Linear(x, up, null)), 20 * Compare.Epsilon(type));
        Compare.Near(ScalarMath.Linear(activated, Compare.Values(down), null, inner), LlamaBlocks.Mlp(x, gate, up, down), 20 * Compare.Epsilon(type));
    }

    [Fact]
    public void A_share_of_the_heads_attends_as_those_heads_do_in_the_whole()
    {
        using var scope = NewDisposeScope();
        using var withoutGradients = no_grad();
        var config = ModelConfigs.Qwen3;
        using var model = LlamaModel.Initialise(config, new SeededInputs().Seed, ScalarType.Float64, CPU);
        using var rotary = new RotaryEmbedding(config, 16, ScalarType.Float64, CPU);
        var x = new SeededInputs().Tensor(ScalarType.Float64, 2, 10, config.HiddenSize);

        Tensor Core(int rank, int width)
        {
            Tensor Share(LlamaRole role)
            {
                var parameter = LlamaParameters.OfLayer(config, 0).Single(candidate => candidate.Role == role);
                var slice = parameter.SliceFor(rank, width);
                return model.Weights[parameter.Name].narrow(slice.Dimension, slice.Start, slice.Length);
            }

            return LlamaBlocks.AttentionCore(
                config, x,
                new AttentionWeights(
                    Share(LlamaRole.Query), Share(LlamaRole.Key), Share(LlamaRole.Value), null, null, null,
                    Share(LlamaRole.QueryNorm), Share(LlamaRole.KeyNorm)),
                rotary);
        }

        Compare.Near(Compare.Values(Core(0, 1)), cat([Core(0, 2), Core(1, 2)], -1), 1e-14);
    }

    [Fact]
    public void The_backward_of_a_segment_needs_nothing_that_was_disposed_in_the_forward()
    {
        using var scope = NewDisposeScope();
        var config = ModelConfigs.Tiny;
        using var rotary = new RotaryEmbedding(config, 16, ScalarType.Float64, CPU);
        using var model = LlamaModel.Initialise(config, 3, ScalarType.Float64, CPU);
        var weights = new AttentionWeights(
            model.Weights[LlamaParameters.NameOf(0, LlamaRole.Query)].requires_grad_(), model.Weights[LlamaParameters.NameOf(0, LlamaRole.Key)],
            model.Weights[LlamaParameters.NameOf(0, LlamaRole.Value)], null, null, null, null, null);
        var inputs = new SeededInputs();
        var x = inputs.Tensor(ScalarType.Float64, 1, 3, config.HiddenSize).requires_grad_();
        Tensor result;
        using (NewDisposeScope())
            result = LlamaBlocks.AttentionCore(config, x, weights, rotary).MoveToOuterDisposeScope();
        var direction = inputs.Tensor(ScalarType.Float64, 1, 3, config.HiddenSize);

        var gradient = autograd.grad([result], [x], [direction])[0];

        Compare.Near(
            ScalarMath.NumericGradient(Compare.Values(x), moved =>
            {
                using var inner = NewDisposeScope();
                using var withoutGradients = no_grad();
                var at = TensorMemory.FromSpan<double>(moved, x.shape, ScalarType.Float64);
                return (LlamaBlocks.AttentionCore(config, at, weights, rotary) * direction).sum().item<double>();
            }),
            gradient, 1e-6);
    }
}
