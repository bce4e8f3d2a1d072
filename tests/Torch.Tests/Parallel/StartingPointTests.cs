using Platform.Core.Models;
using Platform.Formats.HuggingFace;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>
/// Training that starts from a model's files, whole or by adapters, on every layout: against the plain model differentiated by
/// autograd, and against formulas over arrays that share no code with either.
/// </summary>
public sealed class StartingPointTests : IDisposable
{
    private const int Sequences = 4;
    private const int Length = TinyModel.SequenceLength;

    private readonly string _directory = Directory.CreateTempSubdirectory("platform-start-").FullName;

    public static TheoryData<string, int, int, int> Layouts
    {
        get
        {
            var data = new TheoryData<string, int, int, int>();
            foreach (var family in new[] { "qwen2", "qwen3" })
            {
                foreach (var (tensor, pipeline, width) in new[] { (1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 1), (2, 2, 2) })
                    data.Add(family, tensor, pipeline, width);
            }

            return data;
        }
    }

    public static TheoryData<string, int, int, int> AdapterLayouts => new()
    {
        { "q_proj,v_proj", 1, 1, 1 },
        { "q_proj,v_proj", 4, 1, 1 },
        { "k_proj,o_proj,up_proj", 2, 2, 1 },
        { "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", 2, 2, 2 },
        { "down_proj", 1, 1, 2 },
        { "o_proj,gate_proj,down_proj", 2, 1, 1 },
    };

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>Two by two ranks also divide the sequence and take turns at two chunks each.</summary>
    private static TinyLayout Layout(int tensor, int pipeline, int data)
    {
        var layout = new TinyLayout(tensor, pipeline, data);
        return tensor * pipeline < 4 || pipeline == 1
            ? layout
            : layout with { SequenceParallel = true, Schedule = Core.Jobs.PipelineSchedule.Interleaved, VirtualStages = 2 };
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Biases_and_head_norms_train_as_in_the_plain_model(string family, int tensor, int pipeline, int data)
    {
        using var scope = NewDisposeScope();
        var (config, tokens, targets) = (Family(family), TinyModel.Tokens(1, Sequences * Length), TinyModel.Tokens(2, Sequences * Length));
        Write(config);
        using var plain = LlamaModel.Load(config, _directory, ScalarType.Float64, CPU);
        foreach (var weight in plain.Weights.Values)
            weight.requires_grad_();
        var loss = plain.Loss(Batch(tokens), Batch(targets));
        loss.backward();

        var ranks = Step(config, Layout(tensor, pipeline, data), null, tokens, targets);

        Assert.Equal(loss.item<double>(), ranks.Sum(rank => rank.Loss), 1e-11);
        Assert.Equal(ScalarLoss(config, tokens, targets), ranks.Sum(rank => rank.Loss), 1e-9);
        CompareGradients(ranks, name => plain.Weights[name].grad, config.ParameterCount);
    }

    [Theory]
    [MemberData(nameof(AdapterLayouts))]
    public void Adapters_train_as_autograd_says_and_the_base_keeps_its_bits(string targetNames, int tensor, int pipeline, int data)
    {
        using var scope = NewDisposeScope();
        var config = Family("qwen2");
        var (tokens, targets) = (TinyModel.Tokens(3, Sequences * Length), TinyModel.Tokens(4, Sequences * Length));
        var adapters = LowRankAdapters.Create(3, 6, targetNames.Split(','));
        Write(config);
        using var files = LlamaWeightFiles.Open(_directory);
        var factors = adapters.FactorsOf(config).ToDictionary(
            factor => factor.Name, factor => Factor(config, factor, factor.Whole, ScalarType.Float64).requires_grad_());
        using var merged = new LlamaModel(config, parameter =>
        {
            var weight = files.Read(parameter, parameter.Whole, ScalarType.Float64);
            if (!adapters.Targets.Contains(parameter.Role))
                return weight;
            var (a, b) = adapters.FactorsOf(parameter);
            return weight + (factors[b.Name].mm(factors[a.Name]) * adapters.Scale);
        }, ScalarType.Float64, CPU);
        var loss = merged.Loss(Batch(tokens), Batch(targets));
        loss.backward();

        var ranks = Step(config, Layout(tensor, pipeline, data), adapters, tokens, targets);

        Assert.Equal(loss.item<double>(), ranks.Sum(rank => rank.Loss), 1e-11);
        CompareGradients(ranks, name => factors[name].grad, adapters.FactorsOf(config).Sum(factor => factor.ElementCount));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void Masked_targets_have_neither_loss_nor_gradient(int width)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        const int tokens = 9;
        var (x, weight) = (inputs.Tensor(ScalarType.Float64, tokens, 6).requires_grad_(), inputs.Tensor(ScalarType.Float64, 16, 6).requires_grad_());
        var ids = Enumerable.Range(0, tokens).Select(i => i % 3 == 1 ? VocabularyParallelLoss.MaskedTarget : inputs.Between(0, 15)).ToArray();
        var mean = nn.functional.cross_entropy(nn.functional.linear(x, weight), tensor(ids), ignore_index: VocabularyParallelLoss.MaskedTarget);
        mean.backward();
        var counted = ids.Count(id => id >= 0);

        var ranks = InProcessRanks.Run(width, world =>
        {
            using var group = world.CreateGroup("tensor", [.. Enumerable.Range(0, width)]);
            var rows = 16 / width;
            var mine = weight.detach().narrow(0, world.Rank * rows, rows).clone();
            var gradient = zeros_like(mine);
            using var none = no_grad();
            var (loss, dx) = new VocabularyParallelLoss(new(group, false), mine, gradient, new TensorSlice(0, world.Rank * rows, rows, rows), ScalarType.Float64)
                .Differentiate(x.detach(), tensor(ids), 1.0 / counted);
            return (Loss: Compare.Values(loss), Dx: Compare.Values(dx), Dw: Compare.Values(gradient));
        });

        Assert.All(ranks, rank => Assert.Equal(mean.item<double>(), rank.Loss.Sum() / counted, 1e-12));
        Assert.All(ranks, rank => Assert.All(ids.Zip(rank.Loss), pair => Assert.Equal(pair.First < 0, pair.Second == 0)));
        Assert.All(ranks, rank => Compare.Near(Compare.Values(Gradient(x)), rank.Dx, 1e-12));
        Compare.Near(Compare.Values(Gradient(weight)), [.. ranks.SelectMany(rank => rank.Dw)], 1e-12);
    }

    [Fact]
    public void Adapters_begin_as_PEFTs_do_on_every_layout()
    {
        using var scope = NewDisposeScope();
        var config = Family("llama");
        foreach (var factor in LowRankAdapters.Create(4, 8, ["q_proj", "down_proj"]).FactorsOf(config))
        {
            var whole = LlamaInitializer.Create(config, factor, factor.Whole, 9, ScalarType.Float64);
            var values = Compare.Values(whole);
            var bound = factor.Role == LlamaRole.AdapterA ? 1 / Math.Sqrt(factor.Shape[1]) : 0;
            Assert.All(values, value => Assert.InRange(Math.Abs(value), 0, bound));
            if (bound > 0)
                Assert.Equal(bound / Math.Sqrt(3), Math.Sqrt(values.Average(value => value * value)), 0.15 * bound);
            for (var rank = 0; rank < 2; rank++)
            {
                var slice = factor.SliceFor(rank, 2);
                Compare.SameBits(
                    whole.narrow(slice.Dimension, slice.Start, slice.Length), LlamaInitializer.Create(config, factor, slice, 9, ScalarType.Float64));
            }
        }
    }

    private static ModelConfig Family(string architecture) => TinyModel.Config with
    {
        Architecture = architecture,
        AttentionBias = architecture == "qwen2",
        QkNorm = architecture == "qwen3",
    };

    private static Tensor Batch(long[] ids) => TensorMemory.FromSpan<long>(ids, [Sequences, Length], ScalarType.Int64);

    private static Tensor Gradient(Tensor tensor) => tensor.grad ?? throw new InvalidOperationException("There is no gradient.");

    /// <summary>Random values of a weight, the same whatever part of it is asked for; small, but nowhere 0 or 1.</summary>
    private static Tensor Factor(ModelConfig config, LlamaParameter parameter, TensorSlice slice, ScalarType type)
    {
        var values = new double[parameter.ElementCount];
        new NormalStream(41, parameter.Name).Fill(values, 0, 0.3);
        var whole = TensorMemory.FromSpan<double>(values, [.. parameter.Shape], ScalarType.Float64);
        if (parameter.Role is LlamaRole.QueryNorm or LlamaRole.KeyNorm or LlamaRole.InputNorm or LlamaRole.PostAttentionNorm or LlamaRole.FinalNorm)
            whole = whole + 1;
        return whole.narrow(slice.Dimension, slice.Start, slice.Length).contiguous().to_type(type);
    }

    private void Write(ModelConfig config)
    {
        using var export = HuggingFaceExport.Create(
            _directory, HuggingFaceConfig.Of(config, Formats.Safetensors.TensorDataType.F64), new GenerationConfig(), maxShardBytes: 20_000);
        foreach (var parameter in LlamaParameters.All(config))
            export.Write(parameter.Name, TensorMemory.Bytes(Factor(config, parameter, parameter.Whole, ScalarType.Float64)));
        export.Commit();
    }

    private double ScalarLoss(ModelConfig config, long[] tokens, long[] targets)
    {
        using var files = LlamaWeightFiles.Open(_directory);
        var weights = LlamaParameters.All(config).ToDictionary(
            parameter => parameter.Name, parameter => Compare.Values(files.Read(parameter, parameter.Whole, ScalarType.Float64)));
        var sum = 0.0;
        foreach (var (input, target) in tokens.Chunk(Length).Zip(targets.Chunk(Length)))
        {
            var (logits, _) = ScalarLlama.Forward(config, name => weights[name], input);
            foreach (var (row, id) in logits.Chunk(config.VocabSize).Zip(target))
                sum += Math.Log(row.Sum(Math.Exp)) - row[id];
        }

        return sum / tokens.Length;
    }

    private IReadOnlyList<(double Loss, List<(LlamaParameter Parameter, TensorSlice Slice, double[] Values)> Gradients)> Step(
        ModelConfig config, TinyLayout layout, LowRankAdapters? adapters, long[] tokens, long[] targets) =>
        InProcessRanks.Run(layout.Mesh.WorldSize, world =>
        {
            var mesh = layout.Mesh;
            using var none = no_grad();
            using var groups = ParallelGroups.Create(world, mesh, config.TieWordEmbeddings);
            using var store = new ParameterStore(StageLayout.Create(
                config, mesh, groups.Coordinate, new LayoutSettings(Length, layout.VirtualStages, layout.SequenceParallel), adapters), TrainingTypes.Float64);
            using (var files = LlamaWeightFiles.Open(_directory))
                store.Load(files, seed: 5);
            foreach (var (parameter, part) in Parts(store).Where(pair => pair.Part.Parameter.IsAdapter))
            {
                using var place = store.PartView(StateKind.Master, parameter, part);
                place.copy_(Factor(config, part.Parameter, part.Slice, ScalarType.Float64));
            }

            store.PublishMasters();
            using var exchange = new DataParallelExchange(groups, store);
            var chunks = ParallelStage.CreateAll(groups, store, Length, ActivationCheckpointing.None, exchange);
            var perRank = Sequences / mesh.Data;
            exchange.BeginStep(perRank);
            var loss = new PipelineRunner(groups, chunks, layout.Schedule, layout.Exchange).Train(
                perRank,
                1,
                i => MicroBatch.Create(Row(tokens, (groups.Coordinate.Data * perRank) + i), Row(targets, (groups.Coordinate.Data * perRank) + i), 1),
                1.0 / tokens.Length);
            exchange.FinishGradients();
            foreach (var chunk in chunks)
                chunk.Dispose();
            var gradients = new List<(LlamaParameter, TensorSlice, double[])>();
            foreach (var (parameter, part) in Parts(store).Where(pair => pair.Parameter.Gradient is not null && store.Layout.Owns(pair.Parameter.Bundle)))
            {
                using var view = store.PartView(StateKind.Gradient, parameter, part);
                if (groups.Coordinate.Data == 0)
                    gradients.Add((part.Parameter, part.Slice, Compare.Values(view)));
            }

            new ParallelAdamW(store, new AdamWSettings(0.9, 0.95, 1e-8, 0.1, 1)).Update(1, 0.1, 1);
            using var unchanged = LlamaWeightFiles.Open(_directory);
            foreach (var (parameter, part) in Parts(store).Where(pair => pair.Parameter.Gradient is null))
            {
                using var view = store.PartView(StateKind.Master, parameter, part);
                var source = unchanged.Read(part.Parameter, part.Slice, ScalarType.Float64).narrow(part.Slice.Dimension, 0, part.Slice.Length);
                Compare.SameBits(source, view);
            }

            Assert.Equal(adapters is null, store.Parameters.All(parameter => parameter.Gradient is not null));
            return (groups.Coordinate.Tensor == 0 ? loss / tokens.Length : 0, gradients);
        });

    private static IEnumerable<(StoredParameter Parameter, BundlePart Part)> Parts(ParameterStore store) =>
        store.Parameters.SelectMany(parameter => parameter.Bundle.Parts.Select(part => (parameter, part)));

    private static ReadOnlySpan<long> Row(long[] ids, int sequence) => ids.AsSpan(sequence * Length, Length);

    private static void CompareGradients(
        IReadOnlyList<(double Loss, List<(LlamaParameter Parameter, TensorSlice Slice, double[] Values)> Gradients)> ranks,
        Func<string, Tensor?> expectedOf, long expectedElements)
    {
        var elements = 0L;
        foreach (var (parameter, slice, values) in ranks.SelectMany(rank => rank.Gradients))
        {
            var whole = expectedOf(parameter.Name) ?? throw new InvalidOperationException($"{parameter.Name} has no gradient.");
            var scale = whole.abs().max().item<double>();
            var expected = Compare.Values(whole.narrow(slice.Dimension, slice.Start, slice.Length));
            elements += values.Length;
            for (var i = 0; i < values.Length; i++)
                Assert.True(Math.Abs(expected[i] - values[i]) <= 1e-12 * scale, $"{parameter.Name}: expected {expected[i]}, found {values[i]}.");
        }

        Assert.Equal(expectedElements, elements);
    }
}
