using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Operators;

public sealed class ListOpsTests
{
    private static readonly AdamWStep Step = new(LearningRate: 0.01, Beta1: 0.9, Beta2: 0.95, WeightDecay: 0.1, Epsilon: 1e-8);

    [Theory]
    [InlineData(ScalarType.Float64, 1e-12)]
    [InlineData(ScalarType.Float32, 1e-5)]
    [InlineData(ScalarType.BFloat16, 2e-2)]
    public void Fused_adamw_follows_the_formula_over_several_steps(ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        long[][] shapes = [[3, 5], [17], [2, 3, 4]];
        var weights = shapes.Select(shape => inputs.Tensor(type, shape)).ToList();
        var first = shapes.Select(shape => zeros(shape, type)).ToList();
        var second = shapes.Select(shape => zeros(shape, type)).ToList();
        var steps = shapes.Select(_ => zeros([], ScalarType.Float32)).ToList();
        var expected = weights.Select(weight => new ScalarAdamW(Compare.Values(weight))).ToList();

        for (var step = 1; step <= 4; step++)
        {
            var gradients = shapes.Select(shape => inputs.Tensor(type, shape)).ToList();
            foreach (var counter in steps)
                counter.fill_(step);
            Ops.FusedAdamWInPlace(weights, gradients, first, second, steps, Step);
            for (var i = 0; i < shapes.Length; i++)
                expected[i].Update(Compare.Values(gradients[i]), Step, step);
        }

        for (var i = 0; i < shapes.Length; i++)
            Compare.Near(expected[i].Weights, weights[i], tolerance);
    }

    [Fact]
    public void Fused_adamw_changes_weights_that_require_gradients_without_recording()
    {
        using var scope = NewDisposeScope();
        var weight = ones(4).requires_grad_();
        Ops.FusedAdamWInPlace([weight], [ones(4)], [zeros(4)], [zeros(4)], [ones([])], Step);
        Assert.True(weight.is_leaf);
        Assert.All(Compare.Values(weight), value => Assert.Equal(1 * (1 - 0.001) - 0.01, value, 1e-6));
    }

    [Fact]
    public void Fused_adamw_refuses_lists_that_do_not_belong_together()
    {
        using var scope = NewDisposeScope();
        Tensor[] good = [ones(4)];
        Tensor[] step = [ones([])];
        Assert.Throws<ArgumentException>(() => Ops.FusedAdamWInPlace(good, [], good, good, step, Step));
        Assert.Throws<ArgumentException>(() => Ops.FusedAdamWInPlace(good, [ones(5)], [ones(4)], [ones(4)], step, Step));
        Assert.Throws<ArgumentException>(() => Ops.FusedAdamWInPlace(good, [ones(4, ScalarType.BFloat16)], [ones(4)], [ones(4)], step, Step));
        Assert.Throws<ArgumentException>(() => Ops.FusedAdamWInPlace(good, [ones(4)], [ones(4)], [ones(4)], [ones(1)], Step));
        Assert.Throws<ArgumentException>(() => Ops.FusedAdamWInPlace(good, [ones(4)], [ones(4)], [ones(4)], [ones([], ScalarType.Float64)], Step));
        Assert.Throws<ArgumentException>(() => Ops.FusedAdamWInPlace([ones(4, 2).t()], [ones(2, 4)], [ones(2, 4)], [ones(2, 4)], step, Step));
        Assert.Throws<ArgumentException>(() => Ops.FusedAdamWInPlace(good, [ones(4)], [ones(4)], [ones(4)], step, Step with { Beta1 = 1 }));
        Ops.FusedAdamWInPlace([], [], [], [], [], Step);
    }

    [Fact]
    public void Foreach_multiply_scales_every_tensor()
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        Tensor[] tensors = [inputs.Tensor(ScalarType.Float32, 3, 4), inputs.Tensor(ScalarType.Float32, 7)];
        var before = tensors.Select(Compare.Values).ToArray();

        Ops.ForeachMultiplyInPlace(tensors, tensor(0.25f));

        for (var i = 0; i < tensors.Length; i++)
            Assert.Equal(before[i].Select(value => value * 0.25), Compare.Values(tensors[i]));
        Ops.ForeachMultiplyInPlace([], tensor(2f));
        Assert.Throws<ArgumentException>(() => Ops.ForeachMultiplyInPlace(tensors, ones(1)));
        Assert.Throws<ArgumentException>(() => Ops.ForeachMultiplyInPlace([ones(2, ScalarType.Int64)], tensor(2f)));
    }

    private sealed class ScalarAdamW(double[] weights)
    {
        private readonly double[] _first = new double[weights.Length];
        private readonly double[] _second = new double[weights.Length];

        public double[] Weights { get; } = weights;

        public void Update(double[] gradient, AdamWStep step, int count)
        {
            for (var i = 0; i < Weights.Length; i++)
            {
                _first[i] = step.Beta1 * _first[i] + (1 - step.Beta1) * gradient[i];
                _second[i] = step.Beta2 * _second[i] + (1 - step.Beta2) * gradient[i] * gradient[i];
                var mean = _first[i] / (1 - Math.Pow(step.Beta1, count));
                var variance = _second[i] / (1 - Math.Pow(step.Beta2, count));
                Weights[i] = Weights[i] * (1 - step.LearningRate * step.WeightDecay)
                    - step.LearningRate * mean / (Math.Sqrt(variance) + step.Epsilon);
            }
        }
    }
}
