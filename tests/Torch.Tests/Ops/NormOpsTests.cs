using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Operators;

public sealed class NormOpsTests
{
    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Rms_norm_follows_the_formula(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        int rows = inputs.Between(1, 9), width = inputs.Between(1, 70);
        var (x, weight) = (inputs.Tensor(type, rows, width), inputs.Tensor(type, width));

        Compare.Near(ScalarMath.RmsNorm(Compare.Values(x), Compare.Values(weight), 1e-5), Ops.RmsNorm(x, weight, 1e-5), 20 * Compare.Epsilon(type));
    }

    [Fact]
    public void Rms_norm_records_the_gradient_of_the_formula()
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var x = inputs.Tensor(ScalarType.Float64, 3, 8).requires_grad_();
        var weight = inputs.Tensor(ScalarType.Float64, 8).requires_grad_();
        var direction = inputs.Tensor(ScalarType.Float64, 3, 8);

        var gradients = autograd.grad([(Ops.RmsNorm(x, weight, 1e-5) * direction).sum()], [x, weight]);

        double Loss(double[] xs, double[] ws) =>
            ScalarMath.RmsNorm(xs, ws, 1e-5).Zip(Compare.Values(direction), (a, b) => a * b).Sum();
        Compare.Near(ScalarMath.NumericGradient(Compare.Values(x), xs => Loss(xs, Compare.Values(weight))), gradients[0], 1e-6);
        Compare.Near(ScalarMath.NumericGradient(Compare.Values(weight), ws => Loss(Compare.Values(x), ws)), gradients[1], 1e-6);
    }

    [Fact]
    public void Silu_and_its_backward_follow_the_formula()
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var x = inputs.Tensor(ScalarType.Float64, 5, 7);
        var gradient = inputs.Tensor(ScalarType.Float64, 5, 7);

        Compare.Near(Compare.Values(x).Select(ScalarMath.Silu).ToArray(), Ops.Silu(x), 1e-14);
        var expected = Compare.Values(x).Zip(Compare.Values(gradient), (value, g) =>
        {
            var sigmoid = 1 / (1 + Math.Exp(-value));
            return g * sigmoid * (1 + value * (1 - sigmoid));
        }).ToArray();
        Compare.Near(expected, Ops.SiluBackward(gradient, x), 1e-14);
        x.requires_grad_();
        Compare.Near(expected, autograd.grad([Ops.Silu(x)], [x], [gradient])[0], 1e-14);
    }

    [Fact]
    public void Arguments_that_would_crash_native_code_are_refused()
    {
        using var scope = NewDisposeScope();
        var x = ones(2, 4);
        Assert.Throws<ArgumentException>(() => Ops.RmsNorm(x, ones(5), 1e-5));
        Assert.Throws<ArgumentException>(() => Ops.RmsNorm(x, ones(4, ScalarType.Float64), 1e-5));
        Assert.Throws<ArgumentException>(() => Ops.RmsNorm(ones(4, ScalarType.Int64), ones(4, ScalarType.Int64), 1e-5));
        Assert.Throws<ArgumentOutOfRangeException>(() => Ops.RmsNorm(x, ones(4), 0));
        Assert.Throws<ArgumentException>(() => Ops.Silu(ones(4, ScalarType.Int64)));
        Assert.Throws<ArgumentException>(() => Ops.SiluBackward(ones(3), x));
        var disposed = ones(4);
        disposed.Dispose();
        Assert.ThrowsAny<InvalidOperationException>(() => Ops.Silu(disposed));
    }
}
