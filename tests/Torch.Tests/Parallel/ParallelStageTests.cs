using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>The parallel model, on every layout, against the plain one differentiated by autograd.</summary>
public sealed class ParallelStageTests
{
    public static TheoryData<int, int, int> Layouts => new()
    {
        { 1, 1, 1 }, { 2, 1, 1 }, { 4, 1, 1 }, { 1, 2, 1 }, { 1, 4, 1 }, { 1, 1, 2 }, { 2, 2, 2 },
    };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Gradients_are_those_of_the_plain_model_in_double_precision(int tensor, int pipeline, int data) =>
        CompareWithPlain(new(tensor, pipeline, data), TrainingTypes.Float64, false, PipelineSchedule.OneForwardOneBackward, ActivationCheckpointing.None, 1e-12);

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Gradients_are_those_of_the_plain_model_in_single_precision(int tensor, int pipeline, int data) =>
        CompareWithPlain(new(tensor, pipeline, data), TrainingTypes.Float32, false, PipelineSchedule.OneForwardOneBackward, ActivationCheckpointing.None, 1e-6);

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 3, 1)]
    [InlineData(2, 2, 1)]
    public void A_head_tied_to_the_embedding_gets_the_gradients_of_both_uses(int tensor, int pipeline, int data) =>
        CompareWithPlain(new(tensor, pipeline, data), TrainingTypes.Float64, true, PipelineSchedule.OneForwardOneBackward, ActivationCheckpointing.None, 1e-12);

    [Theory]
    [InlineData(ActivationCheckpointing.Selective)]
    [InlineData(ActivationCheckpointing.Full)]
    public void Recomputing_activations_changes_nothing(ActivationCheckpointing checkpointing) =>
        CompareWithPlain(new(2, 2, 1), TrainingTypes.Float64, false, PipelineSchedule.OneForwardOneBackward, checkpointing, 1e-12);

    [Fact]
    public void All_forwards_before_all_backwards_gives_the_same_gradients() =>
        CompareWithPlain(new(1, 2, 2), TrainingTypes.Float64, false, PipelineSchedule.GPipe, ActivationCheckpointing.None, 1e-12);

    [Theory]
    [InlineData(1, 1, 2, ZeroStage.OptimizerState)]
    [InlineData(2, 2, 2, ZeroStage.OptimizerState)]
    [InlineData(1, 1, 4, ZeroStage.Gradients)]
    [InlineData(2, 2, 2, ZeroStage.Gradients)]
    [InlineData(1, 1, 2, ZeroStage.Parameters)]
    [InlineData(2, 2, 2, ZeroStage.Parameters)]
    public void Sharded_ranks_have_together_the_gradients_of_the_plain_model(int tensor, int pipeline, int data, ZeroStage zero)
    {
        foreach (var tied in (bool[])[false, true])
            CompareWithPlain(
                new(tensor, pipeline, data), TrainingTypes.Float64, tied, PipelineSchedule.OneForwardOneBackward, ActivationCheckpointing.None, 1e-12, zero);
        CompareWithPlain(new(tensor, pipeline, data), TrainingTypes.Float64, false, PipelineSchedule.GPipe, ActivationCheckpointing.Full, 1e-12, zero);
    }

    private static void CompareWithPlain(
        DeviceMesh mesh, TrainingTypes types, bool tied, PipelineSchedule schedule, ActivationCheckpointing checkpointing, double tolerance,
        ZeroStage zero = ZeroStage.None)
    {
        var config = TinyModel.Config with { TieWordEmbeddings = tied };
        var (tokens, targets) = (TinyModel.Tokens(1, 4 * TinyModel.SequenceLength), TinyModel.Tokens(2, 4 * TinyModel.SequenceLength));
        using var scope = NewDisposeScope();
        using var plain = LlamaModel.Initialise(config, 7, types.Compute, CPU);
        foreach (var weight in plain.Weights.Values)
            weight.requires_grad_();
        var expectedLoss = plain.Loss(
            TensorMemory.FromSpan<long>(tokens, [4, TinyModel.SequenceLength], ScalarType.Int64),
            TensorMemory.FromSpan<long>(targets, [4, TinyModel.SequenceLength], ScalarType.Int64));
        expectedLoss.backward();

        var ranks = TinyModel.StepGradients(config, mesh, types, schedule, checkpointing, tokens, targets, zero);

        Assert.Equal(Compare.Values(expectedLoss)[0], ranks.Sum(rank => rank.Loss), tolerance * 10);
        var elements = 0L;
        foreach (var (parameter, box, values) in ranks.SelectMany(rank => rank.Gradients))
        {
            var whole = plain.Weights[parameter.Name].grad ?? throw new InvalidOperationException($"{parameter.Name} has no gradient.");
            var scale = whole.abs().max().to_type(ScalarType.Float64).item<double>();
            using var expected = Enumerable.Range(0, box.Shape.Count)
                .Aggregate(whole, (part, dim) => part.narrow(dim, box.Start[dim], box.Shape[dim])).contiguous();
            elements += values.Length;
            foreach (var (e, a) in Compare.Values(expected).Zip(values))
                Assert.True(Math.Abs(e - a) <= tolerance * scale, $"{parameter.Name}: expected {e}, found {a}.");
        }

        Assert.Equal(config.ParameterCount, elements);
    }
}
