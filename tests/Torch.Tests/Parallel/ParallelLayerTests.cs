using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>Each parallel layer by itself against the plain layer differentiated by autograd.</summary>
public sealed class ParallelLayerTests
{
    private const int Tokens = 9;

    public static TheoryData<int, ScalarType, double> Cases => new()
    {
        { 1, ScalarType.Float32, 1e-6 }, { 2, ScalarType.Float32, 1e-6 }, { 4, ScalarType.Float32, 1e-6 },
        { 1, ScalarType.Float64, 1e-12 }, { 2, ScalarType.Float64, 1e-12 }, { 4, ScalarType.Float64, 1e-12 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Column_parallel_linear(int width, ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (x, weight, bias) = (inputs.Tensor(type, Tokens, 8), inputs.Tensor(type, 12, 8), inputs.Tensor(type, 12));
        var direction = inputs.Tensor(type, Tokens, 12);
        var expected = Plain(() => nn.functional.linear(x, weight, bias), direction, x, weight, bias);

        var ranks = InProcessRanks.Run(width, world =>
        {
            using var group = world.CreateGroup("tensor", [.. Enumerable.Range(0, width)]);
            var rows = 12 / width;
            Tensor Mine(Tensor whole, int dim) => whole.narrow(dim, world.Rank * rows, rows).detach().clone();
            var (w, b) = (Mine(weight, 0), Mine(bias, 0));
            var (weightGradient, biasGradient) = (zeros_like(w), zeros_like(b));
            var layer = new ColumnParallelLinear(new(group, false), w, weightGradient, b, biasGradient);
            using var tape = new ActivationTape();
            var y = layer.Forward(x.detach(), tape);
            var dx = layer.Backward(Mine(direction, 1), tape);
            return new[] { y, dx, weightGradient, biasGradient }.Select(Compare.Values).ToArray();
        });

        Compare.Near(expected[0], Beside(ranks.Select(rank => rank[0]), Tokens), tolerance);
        Assert.All(ranks, rank => Compare.Near(expected[1], rank[1], tolerance));
        Compare.Near(expected[2], [.. ranks.SelectMany(rank => rank[2])], tolerance);
        Compare.Near(expected[3], [.. ranks.SelectMany(rank => rank[3])], tolerance);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Row_parallel_linear(int width, ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (x, weight, direction) = (inputs.Tensor(type, Tokens, 12), inputs.Tensor(type, 8, 12), inputs.Tensor(type, Tokens, 8));
        var expected = Plain(() => nn.functional.linear(x, weight), direction, x, weight);

        var ranks = InProcessRanks.Run(width, world =>
        {
            using var group = world.CreateGroup("tensor", [.. Enumerable.Range(0, width)]);
            var columns = 12 / width;
            Tensor Mine(Tensor whole) => whole.narrow(1, world.Rank * columns, columns).detach().clone();
            var w = Mine(weight);
            var weightGradient = zeros_like(w);
            var layer = new RowParallelLinear(new(group, false), w, weightGradient);
            using var tape = new ActivationTape();
            var y = layer.Forward(Mine(x), tape);
            var dx = layer.Backward(direction.detach(), tape);
            return new[] { y, dx, weightGradient }.Select(Compare.Values).ToArray();
        });

        Assert.All(ranks, rank => Compare.Near(expected[0], rank[0], tolerance));
        Compare.Near(expected[1], Beside(ranks.Select(rank => rank[1]), Tokens), tolerance);
        Compare.Near(expected[2], Beside(ranks.Select(rank => rank[2]), 8), tolerance);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Vocabulary_parallel_embedding(int width, ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (weight, direction) = (inputs.Tensor(type, 13, 6), inputs.Tensor(type, Tokens, 6));
        var ids = tensor(Enumerable.Range(0, Tokens).Select(_ => (long)inputs.Between(0, 12)).ToArray());
        var expected = Plain(() => weight.index_select(0, ids), direction, weight);

        var ranks = InProcessRanks.Run(width, world =>
        {
            using var group = world.CreateGroup("tensor", [.. Enumerable.Range(0, width)]);
            var (w, slice) = Rows(weight, world.Rank, width);
            var weightGradient = zeros_like(w);
            var layer = new VocabularyParallelEmbedding(new(group, false), w, weightGradient, slice);
            using var tape = new ActivationTape();
            var y = layer.Forward(ids.alias(), tape);
            layer.Backward(direction.detach(), tape);
            return new[] { y, weightGradient.narrow(0, 0, slice.Length) }.Select(Compare.Values).ToArray();
        });

        Assert.All(ranks, rank => Compare.Near(expected[0], rank[0], tolerance));
        Compare.Near(expected[1], [.. ranks.SelectMany(rank => rank[1])], tolerance);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Vocabulary_parallel_cross_entropy(int width, ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (x, weight) = (inputs.Tensor(type, Tokens, 6), inputs.Tensor(type, 13, 6));
        var targets = tensor(Enumerable.Range(0, Tokens).Select(_ => (long)inputs.Between(0, 12)).ToArray());
        var expected = Plain(
            () => nn.functional.cross_entropy(nn.functional.linear(x, weight), targets, reduction: nn.Reduction.None),
            full([Tokens], 0.25, type), x, weight);

        var ranks = InProcessRanks.Run(width, world =>
        {
            using var group = world.CreateGroup("tensor", [.. Enumerable.Range(0, width)]);
            var (w, slice) = Rows(weight, world.Rank, width);
            var weightGradient = zeros_like(w);
            var layer = new VocabularyParallelLoss(new(group, false), w, weightGradient, slice, type);
            var evaluated = layer.Evaluate(x.detach(), targets.alias());
            var (loss, dx) = layer.Differentiate(x.detach(), targets.alias(), 0.25);
            Compare.SameBits(evaluated, loss);
            return new[] { loss, dx, weightGradient.narrow(0, 0, slice.Length) }.Select(Compare.Values).ToArray();
        });

        Assert.All(ranks, rank => Compare.Near(expected[0], rank[0], tolerance));
        Assert.All(ranks, rank => Compare.Near(expected[1], rank[1], tolerance));
        Compare.Near(expected[2], [.. ranks.SelectMany(rank => rank[2])], tolerance);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Z_loss_is_trained_and_not_reported(int width, ScalarType type, double tolerance)
    {
        const double coefficient = 0.03;
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (x, weight) = (inputs.Tensor(type, Tokens, 6), inputs.Tensor(type, 13, 6));
        var targets = tensor(Enumerable.Range(0, Tokens).Select(_ => (long)inputs.Between(0, 12)).ToArray());
        var expected = Plain(
            () =>
            {
                var logits = nn.functional.linear(x, weight);
                return nn.functional.cross_entropy(logits, targets, reduction: nn.Reduction.None) + (logits.logsumexp(1).square() * coefficient);
            },
            full([Tokens], 0.25, type), x, weight);
        using var crossEntropy = nn.functional.cross_entropy(nn.functional.linear(x, weight), targets, reduction: nn.Reduction.None);

        var ranks = InProcessRanks.Run(width, world =>
        {
            using var group = world.CreateGroup("tensor", [.. Enumerable.Range(0, width)]);
            var (w, slice) = Rows(weight, world.Rank, width);
            var weightGradient = zeros_like(w);
            var layer = new VocabularyParallelLoss(new(group, false), w, weightGradient, slice, type, coefficient);
            var (loss, dx) = layer.Differentiate(x.detach(), targets.alias(), 0.25);
            return new[] { loss, dx, weightGradient.narrow(0, 0, slice.Length) }.Select(Compare.Values).ToArray();
        });

        Assert.All(ranks, rank => Compare.Near(Compare.Values(crossEntropy), rank[0], tolerance));
        Assert.All(ranks, rank => Compare.Near(expected[1], rank[1], tolerance));
        Compare.Near(expected[2], [.. ranks.SelectMany(rank => rank[2])], tolerance);
    }

    /// <summary>With eight ranks and five tokens some ranks' shares are all padding.</summary>
    [Fact]
    public void Ranks_without_any_of_the_vocabulary_take_part_all_the_same()
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (x, weight) = (inputs.Tensor(ScalarType.Float64, Tokens, 6), inputs.Tensor(ScalarType.Float64, 5, 6));
        var targets = tensor(Enumerable.Range(0, Tokens).Select(_ => (long)inputs.Between(0, 4)).ToArray());
        var expected = Plain(
            () => nn.functional.cross_entropy(nn.functional.linear(x, weight), targets, reduction: nn.Reduction.None),
            ones([Tokens], ScalarType.Float64), x, weight);

        var ranks = InProcessRanks.Run(8, world =>
        {
            using var group = world.CreateGroup("tensor", [.. Enumerable.Range(0, 8)]);
            var (w, slice) = Rows(weight, world.Rank, 8);
            var (loss, dx) = new VocabularyParallelLoss(new(group, false), w, zeros_like(w), slice, w.dtype).Differentiate(x.detach(), targets.alias(), 1);
            return (Compare.Values(loss), Compare.Values(dx));
        });

        Assert.All(ranks, rank => Compare.Near(expected[0], rank.Item1, 1e-12));
        Assert.All(ranks, rank => Compare.Near(expected[1], rank.Item2, 1e-12));
    }

    /// <summary>Output of a plain layer and the gradients of its inputs.</summary>
    private static double[][] Plain(Func<Tensor> layer, Tensor direction, params Tensor[] inputs)
    {
        foreach (var input in inputs)
            input.requires_grad_();
        var output = layer();
        return [Compare.Values(output), .. autograd.grad([output], inputs, [direction]).Select(Compare.Values)];
    }

    private static (Tensor Weight, TensorSlice Slice) Rows(Tensor whole, int rank, int width)
    {
        var parameter = new LlamaParameter(
            "w", [.. whole.shape], LlamaRole.Embedding, TensorSplit.Vocabulary, new ModelPosition.Embedding());
        var slice = parameter.SliceFor(rank, width);
        var mine = zeros([.. parameter.ShapeOf(slice)], whole.dtype);
        mine.narrow(0, 0, slice.Length).copy_(whole.detach().narrow(0, slice.Start, slice.Length));
        return (mine, slice);
    }

    /// <summary>Puts ranks' columns side by side.</summary>
    private static double[] Beside(IEnumerable<double[]> parts, int rows)
    {
        var all = parts.ToList();
        return [.. Enumerable.Range(0, rows).SelectMany(row => all.SelectMany(part => part.Skip(row * part.Length / rows).Take(part.Length / rows)))];
    }
}
