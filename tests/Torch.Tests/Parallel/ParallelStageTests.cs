using Platform.Core.Jobs;
using Platform.Core.Models;
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

    /// <summary>Tensor, pipeline, data and virtual stages.</summary>
    public static TheoryData<int, int, int, int> InterleavedLayouts => new()
    {
        { 1, 1, 1, 3 }, { 1, 2, 1, 2 }, { 1, 2, 1, 4 }, { 1, 4, 1, 2 }, { 1, 3, 1, 2 }, { 2, 2, 2, 2 },
    };

    /// <summary>Recomputation, whether the head is tied, key/value heads, whether projections have biases.</summary>
    public static TheoryData<ActivationCheckpointing, bool, int, bool> Combinations => new()
    {
        { ActivationCheckpointing.None, true, 2, false }, { ActivationCheckpointing.None, false, 8, true },
        { ActivationCheckpointing.Selective, false, 4, true }, { ActivationCheckpointing.Selective, true, 8, false },
        { ActivationCheckpointing.Full, true, 4, true }, { ActivationCheckpointing.Full, false, 2, false },
    };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Gradients_are_those_of_the_plain_model_in_double_precision(int tensor, int pipeline, int data) =>
        CompareWithPlain(new(tensor, pipeline, data), TrainingTypes.Float64, 1e-12);

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Gradients_are_those_of_the_plain_model_in_single_precision(int tensor, int pipeline, int data) =>
        CompareWithPlain(new(tensor, pipeline, data), TrainingTypes.Float32, 1e-6);

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 3, 1)]
    [InlineData(2, 2, 1)]
    public void A_head_tied_to_the_embedding_gets_the_gradients_of_both_uses(int tensor, int pipeline, int data) =>
        CompareWithPlain(new(tensor, pipeline, data), TrainingTypes.Float64, 1e-12, config => config with { TieWordEmbeddings = true });

    [Theory]
    [InlineData(ActivationCheckpointing.Selective)]
    [InlineData(ActivationCheckpointing.Full)]
    public void Recomputing_activations_changes_nothing(ActivationCheckpointing checkpointing) =>
        CompareWithPlain(new(2, 2, 1) { Checkpointing = checkpointing }, TrainingTypes.Float64, 1e-12);

    [Fact]
    public void All_forwards_before_all_backwards_gives_the_same_gradients() =>
        CompareWithPlain(new(1, 2, 2) { Schedule = PipelineSchedule.GPipe }, TrainingTypes.Float64, 1e-12);

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
            CompareWithPlain(new(tensor, pipeline, data) { Zero = zero }, TrainingTypes.Float64, 1e-12, config => config with { TieWordEmbeddings = tied });
        CompareWithPlain(
            new(tensor, pipeline, data) { Zero = zero, Schedule = PipelineSchedule.GPipe, Checkpointing = ActivationCheckpointing.Full },
            TrainingTypes.Float64, 1e-12);
    }

    [Theory]
    [InlineData(ZeroStage.None)]
    [InlineData(ZeroStage.OptimizerState)]
    [InlineData(ZeroStage.Gradients)]
    [InlineData(ZeroStage.Parameters)]
    public void Sharding_combines_with_virtual_stages_and_a_divided_sequence(ZeroStage zero)
    {
        foreach (var (tied, pipeline) in new[] { (false, 2), (true, 2), (true, 1) })
            CompareWithPlain(
                new(2, pipeline, 2) { Zero = zero, Schedule = PipelineSchedule.Interleaved, VirtualStages = 2, SequenceParallel = true },
                TrainingTypes.Float64, 1e-12, config => config with { TieWordEmbeddings = tied });
    }

    [Theory]
    [MemberData(nameof(InterleavedLayouts))]
    public void Virtual_stages_give_the_same_gradients(int tensor, int pipeline, int data, int virtualStages)
    {
        var layout = new TinyLayout(tensor, pipeline, data) { Schedule = PipelineSchedule.Interleaved, VirtualStages = virtualStages };
        CompareWithPlain(layout, TrainingTypes.Float64, 1e-12, EightLayers);
        CompareWithPlain(layout, TrainingTypes.Float32, 1e-6, EightLayers);
    }

    [Theory]
    [InlineData(1, 1, 2)]
    [InlineData(1, 2, 2)]
    [InlineData(2, 3, 2)]
    public void Virtual_stages_with_a_tied_head_get_the_gradients_of_both_uses(int tensor, int pipeline, int virtualStages) =>
        CompareWithPlain(
            new(tensor, pipeline, 1) { Schedule = PipelineSchedule.Interleaved, VirtualStages = virtualStages, SequenceParallel = tensor > 1 },
            TrainingTypes.Float64, 1e-12, config => EightLayers(config) with { TieWordEmbeddings = true });

    [Theory]
    [InlineData(PipelineSchedule.GPipe, 1)]
    [InlineData(PipelineSchedule.OneForwardOneBackward, 1)]
    [InlineData(PipelineSchedule.Interleaved, 2)]
    public void Paired_exchanges_give_the_same_gradients(PipelineSchedule schedule, int virtualStages) =>
        CompareWithPlain(
            new(1, 3, 1) { Schedule = schedule, VirtualStages = virtualStages, Exchange = PipelineExchange.Paired },
            TrainingTypes.Float64, 1e-12, EightLayers);

    [Theory]
    [InlineData(2, 1, 1)]
    [InlineData(4, 1, 1)]
    [InlineData(2, 2, 1)]
    [InlineData(2, 1, 2)]
    [InlineData(4, 2, 1)]
    public void Dividing_the_sequence_gives_the_same_gradients(int tensor, int pipeline, int data)
    {
        var layout = new TinyLayout(tensor, pipeline, data) { SequenceParallel = true, Sequences = 2 };
        CompareWithPlain(layout, TrainingTypes.Float64, 1e-12);
        CompareWithPlain(layout, TrainingTypes.Float32, 1e-6);
    }

    /// <summary>Two micro-batches of three sequences on two stages of two chunks each, two ranks per tensor group.</summary>
    [Theory]
    [MemberData(nameof(Combinations))]
    public void Recomputation_accumulation_heads_and_ties_combine_with_virtual_stages_and_a_divided_sequence(
        ActivationCheckpointing checkpointing, bool tied, int keyValueHeads, bool bias) =>
        CompareWithPlain(
            new(2, 2, 1) { Schedule = PipelineSchedule.Interleaved, VirtualStages = 2, SequenceParallel = true, Sequences = 3, Checkpointing = checkpointing },
            TrainingTypes.Float64, 1e-12,
            config => config with { TieWordEmbeddings = tied, NumKeyValueHeads = keyValueHeads, AttentionBias = bias });

    private static ModelConfig EightLayers(ModelConfig config) => config with { NumHiddenLayers = 8 };

    private static void CompareWithPlain(TinyLayout layout, TrainingTypes types, double tolerance, Func<ModelConfig, ModelConfig>? change = null)
    {
        var config = change?.Invoke(TinyModel.Config) ?? TinyModel.Config;
        const int sequences = 12;
        var (tokens, targets) = (TinyModel.Tokens(1, sequences * TinyModel.SequenceLength), TinyModel.Tokens(2, sequences * TinyModel.SequenceLength));
        using var scope = NewDisposeScope();
        using var plain = LlamaModel.Initialise(config, 7, types.Compute, CPU);
        foreach (var weight in plain.Weights.Values)
            weight.requires_grad_();
        var expectedLoss = plain.Loss(
            TensorMemory.FromSpan<long>(tokens, [sequences, TinyModel.SequenceLength], ScalarType.Int64),
            TensorMemory.FromSpan<long>(targets, [sequences, TinyModel.SequenceLength], ScalarType.Int64));
        expectedLoss.backward();

        var ranks = TinyModel.StepGradients(config, layout, types, tokens, targets);

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
