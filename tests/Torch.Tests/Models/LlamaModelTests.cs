using Platform.Torch.Models.Llama;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Models;

public sealed class LlamaModelTests
{
    [Theory]
    [InlineData(nameof(ModelConfigs.Tiny), ScalarType.Float64, 1e-12)]
    [InlineData(nameof(ModelConfigs.Tiny), ScalarType.Float32, 1e-5)]
    [InlineData(nameof(ModelConfigs.Tiny), ScalarType.BFloat16, 8e-2)]
    [InlineData(nameof(ModelConfigs.Tied), ScalarType.Float64, 1e-12)]
    [InlineData(nameof(ModelConfigs.Qwen2), ScalarType.Float64, 1e-12)]
    [InlineData(nameof(ModelConfigs.Qwen3), ScalarType.Float64, 1e-12)]
    [InlineData(nameof(ModelConfigs.Llama3), ScalarType.Float64, 1e-12)]
    public void The_forward_pass_is_that_of_plain_loops_in_double_precision(string name, ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var withoutGradients = no_grad();
        var inputs = new SeededInputs();
        var config = ModelConfigs.ByName(name);
        // Weights far from their start, so that every norm, bias and softmax matters.
        using var model = new LlamaModel(config, parameter => inputs.Tensor(type, [.. parameter.Shape]).mul_(0.3), type, CPU);
        var tokens = Enumerable.Range(0, 2 * 11).Select(_ => (long)inputs.Between(0, config.VocabSize - 1)).ToArray();

        var output = model.Forward(tensor(tokens).view(2, 11), withHiddenStates: true);

        for (var sequence = 0; sequence < 2; sequence++)
        {
            var (logits, hidden) = ScalarLlama.Forward(
                config, weight => Compare.Values(model.Weights[weight]), tokens.AsSpan(sequence * 11, 11).ToArray());
            Compare.Near(logits, output.Logits_BTV[sequence], tolerance);
            Assert.Equal(hidden.Count, output.Hidden_BTE.Count);
            for (var layer = 0; layer < hidden.Count; layer++)
                Compare.Near(hidden[layer], output.Hidden_BTE[layer][sequence], tolerance);
        }
    }

    [Theory]
    [InlineData(nameof(ModelConfigs.Tiny))]
    [InlineData(nameof(ModelConfigs.Tied))]
    public void The_loss_falls_along_its_gradient_as_the_gradient_says(string name)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        using var model = LlamaModel.Initialise(ModelConfigs.ByName(name), inputs.Seed, ScalarType.Float64, CPU);
        var tokens = randint(0, 37, [2, 9], ScalarType.Int64);
        var targets = randint(0, 37, [2, 9], ScalarType.Int64);
        var weights = model.Weights.Values.ToList();
        foreach (var weight in weights)
            weight.requires_grad_();
        var before = model.Loss(tokens, targets);
        Assert.Equal(Math.Log(37), before.item<double>(), 0.2);

        var gradients = autograd.grad([before], weights);

        var square = gradients.Sum(gradient => gradient.square().sum().item<double>());
        const double step = 1e-6;
        using (no_grad())
        {
            for (var i = 0; i < weights.Count; i++)
                weights[i].sub_(gradients[i] * step);
            Assert.Equal(-step * square, model.Loss(tokens, targets).item<double>() - before.item<double>(), step * square * 1e-3);
        }
    }

    [Fact]
    public void A_later_token_changes_no_earlier_logit()
    {
        using var scope = NewDisposeScope();
        using var withoutGradients = no_grad();
        using var model = LlamaModel.Initialise(ModelConfigs.Tiny, 1, ScalarType.Float64, CPU);
        var a = model.Forward(tensor(new long[] { 1, 2, 3, 4 }).view(1, 4), false).Logits_BTV;
        var b = model.Forward(tensor(new long[] { 1, 2, 3, 30 }).view(1, 4), false).Logits_BTV;
        Compare.SameBits(a.narrow(1, 0, 3).contiguous(), b.narrow(1, 0, 3).contiguous());
        Assert.NotEqual(Compare.Values(a[0, 3]), Compare.Values(b[0, 3]));
    }

    [Fact]
    public void A_weight_of_another_shape_is_refused_by_name()
    {
        var error = Assert.Throws<ArgumentException>(() => new LlamaModel(ModelConfigs.Tiny, _ => ones(3, 3), ScalarType.Float32, CPU));
        Assert.Contains("model.embed_tokens.weight", error.Message);
        Assert.Contains("[37, 32]", error.Message);
    }

    [Fact]
    public void Everything_a_forward_pass_makes_goes_with_its_scope()
    {
        using var outer = NewDisposeScope();
        using var model = LlamaModel.Initialise(ModelConfigs.Qwen3, 1, ScalarType.Float32, CPU);
        var tokens = ones([1, 5], ScalarType.Int64);
        var before = outer.DisposablesCount;
        using (NewDisposeScope())
        using (no_grad())
            model.Forward(tokens, withHiddenStates: true);
        Assert.Equal(before, outer.DisposablesCount);
    }
}
