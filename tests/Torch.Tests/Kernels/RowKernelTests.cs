using Platform.Torch.Kernels;
using Platform.Torch.Native;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Kernels;

/// <summary>The kernels that work row by row, against the same in double precision differentiated by autograd.</summary>
public sealed class RowKernelTests
{
    /// <summary>Type, tolerance relative to the largest element: a few roundings of the type.</summary>
    public static TheoryData<ScalarType, double> Types => new() { { ScalarType.Float32, 2e-6 }, { ScalarType.BFloat16, 8e-3 } };

    private static void RequireVectors() =>
        Assert.SkipUnless(System.Runtime.Intrinsics.Vector512.IsHardwareAccelerated, "This machine has no 512-bit vectors.");

    private static Tensor Exact(Tensor x) => x.to(ScalarType.Float64).detach().requires_grad_();

    [Theory]
    [MemberData(nameof(Types))]
    public void Root_mean_square_norm(ScalarType type, double tolerance)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        foreach (var (rows, width) in new[] { (1L, 16L), (70L, 24L), (inputs.Between(1, 200), inputs.Between(2, 100)) })
        {
            var (x, weight, direction) = (inputs.Tensor(type, rows, width), inputs.Tensor(type, width), inputs.Tensor(type, rows, width));
            var (exactX, exactWeight) = (Exact(x), Exact(weight));
            var expected = Ops.RmsNorm(exactX, exactWeight, 1e-5);
            var gradients = autograd.grad([expected], [exactX, exactWeight], [direction.to(ScalarType.Float64)]);
            var weightGradient = ones(width);

            var (result, scales) = RmsNormKernel.Forward(x, weight, 1e-5);
            var gradient = RmsNormKernel.Backward(direction, x, weight, scales, weightGradient);

            Compare.Near(Compare.Values(expected), result, tolerance);
            // Differences of nearly equal terms where rows are short.
            Compare.Near(Compare.Values(gradients[0]), gradient, 10 * tolerance);
            Compare.Near(Compare.Values(gradients[1] + 1), weightGradient, tolerance);
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Gated_activation(ScalarType type, double tolerance)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        foreach (var (rows, width) in new[] { (2L, 3L), (9L, 32L), (inputs.Between(1, 40), inputs.Between(2, 100)) })
        {
            var (gateUp, direction) = (inputs.Tensor(type, rows, 2 * width).mul_(3), inputs.Tensor(type, rows, width));
            gateUp.narrow(1, 0, 1).fill_(-200); // a gate that is shut lets nothing through and must not overflow
            var exact = Exact(gateUp);
            var expected = Ops.Silu(exact.narrow(1, 0, width)) * exact.narrow(1, width, width);
            var gradients = autograd.grad([expected], [exact], [direction.to(ScalarType.Float64)]);

            Compare.Near(Compare.Values(expected), SwiGluKernel.Forward(gateUp), tolerance);
            Compare.Near(Compare.Values(gradients[0]), SwiGluKernel.Backward(direction, gateUp), tolerance);
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Cross_entropy_of_two_shares_of_the_vocabulary(ScalarType type, double tolerance)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (rows, left, right) = (inputs.Between(1, 20), inputs.Between(1, 40), inputs.Between(1, 40));
        var logits = inputs.Tensor(type, rows, left + right).mul_(10);
        var targets = tensor(Enumerable.Range(0, rows).Select(_ => (long)inputs.Between(0, left + right - 1)).ToArray());
        var masked = inputs.Between(0, rows - 1);
        var counted = ones(rows, ScalarType.Float64);
        counted[masked] = 0;
        var exact = Exact(logits);
        var losses = nn.functional.cross_entropy(exact, targets, reduction: nn.Reduction.None);
        var gradient = autograd.grad([losses], [exact], [counted * 0.5])[0];

        var maskedTargets = targets.clone();
        maskedTargets[masked] = -100;
        var shares = new[] { (First: 0, Count: left), (First: left, Count: right) }
            .Select(share => (share.First, Logits: logits.narrow(1, share.First, share.Count).contiguous())).ToArray();
        var statistics = shares.Select(share => CrossEntropyKernel.Statistics(share.Logits)).ToArray();
        var largest = maximum(statistics[0].Largest_N, statistics[1].Largest_N);
        var total = statistics.Select(s => s.Sum_N * (s.Largest_N - largest).exp()).Aggregate((a, b) => a + b);
        foreach (var share in shares)
            CrossEntropyKernel.Differentiate(share.Logits, largest, total, maskedTargets, share.First, 0.5);

        var picked = logits.to(ScalarType.Float64).gather(1, targets.unsqueeze(1)).squeeze(1);
        Compare.Near(Compare.Values(losses), total.to(ScalarType.Float64).log() + largest - picked, 1e-5);
        Compare.Near(Compare.Values(gradient), cat([.. shares.Select(share => share.Logits)], 1), tolerance);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Rotation_by_an_angle_and_back(ScalarType type, double tolerance)
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (length, half) = (inputs.Between(1, 40), inputs.Between(1, 40));
        var angles = inputs.Tensor(ScalarType.Float64, length + 3, half);
        var (cosine, sine) = (angles.cos().to(type), angles.sin().to(type));
        var x = inputs.Tensor(type, 2, length, 5, 2 * half);
        var exact = x.to(ScalarType.Float64);
        var (c, s) = (cosine.narrow(0, 0, length).unsqueeze(1).to(ScalarType.Float64), sine.narrow(0, 0, length).unsqueeze(1).to(ScalarType.Float64));
        var (first, second) = (exact.narrow(3, 0, half), exact.narrow(3, half, half));
        var turned = cat([(first * c) - (second * s), (second * c) + (first * s)], 3);

        var result = empty_like(x);
        RotaryKernel.Rotate(x, 3, cosine, sine, 1, result);
        Compare.Near(Compare.Values(turned.narrow(2, 0, 3)), result.narrow(2, 0, 3), tolerance);
        Compare.SameBits(x.narrow(2, 3, 2), result.narrow(2, 3, 2));

        RotaryKernel.Rotate(result, 3, cosine, sine, -1, result);
        Compare.Near(Compare.Values(x), result, 3 * tolerance + (type == ScalarType.BFloat16 ? 1e-2 : 0)); // the tables are rounded too
    }

    [Fact]
    public void Sum_of_squares_in_double_precision()
    {
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var x = inputs.Tensor(ScalarType.Float32, (1 << 20) + inputs.Between(1, 5000));
        var exact = x.to(ScalarType.Float64);
        var expected = exact.dot(exact).item<double>();
        Assert.Equal(1, SquaredNormKernel.Of(x) / expected, 1e-13);
        Assert.Equal(1, SquaredNormKernel.Of(exact) / expected, 1e-13);
        Assert.Throws<ArgumentException>(() => SquaredNormKernel.Of(x.to(ScalarType.BFloat16)));
    }

    [Fact]
    public void Bf16_added_to_fp32_is_exact_and_rounds_as_libtorch_does()
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (sum, addend) = (inputs.Tensor(ScalarType.Float32, 7, 100_003), inputs.Tensor(ScalarType.BFloat16, 7, 100_003));
        var expected = sum + addend.to(ScalarType.Float32);
        WideningSum.Add(sum, addend);
        Compare.SameBits(expected, sum);
    }

    [Fact]
    public void Threads_change_no_bit()
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var inputs = new SeededInputs();
        var (x, weight, gradient) = (inputs.Tensor(ScalarType.BFloat16, 300, 48), inputs.Tensor(ScalarType.BFloat16, 48), inputs.Tensor(ScalarType.BFloat16, 300, 48));
        var large = inputs.Tensor(ScalarType.Float32, 3_000_000);
        var threads = TorchThreads.Count;
        try
        {
            var runs = new[] { 1, 2, 3 }.Select(count =>
            {
                TorchThreads.Set(count);
                var sum = zeros(48);
                var (y, scales) = RmsNormKernel.Forward(x, weight, 1e-5);
                return new[]
                {
                    y, RmsNormKernel.Backward(gradient, x, weight, scales, sum), sum, SwiGluKernel.Forward(x),
                    CrossEntropyKernel.Statistics(x).Sum_N, tensor(SquaredNormKernel.Of(large)),
                };
            }).ToArray();
            foreach (var run in runs.Skip(1))
            {
                foreach (var (expected, actual) in runs[0].Zip(run))
                    Compare.SameBits(expected, actual);
            }
        }
        finally
        {
            TorchThreads.Set(threads);
        }
    }

    [Fact]
    public void A_failure_on_a_thread_of_the_team_reaches_the_caller()
    {
        var threads = TorchThreads.Count;
        try
        {
            TorchThreads.Set(2);
            var seen = new int[100];
            KernelThreads.ForEach(100, part => Interlocked.Increment(ref seen[part]));
            Assert.All(seen, count => Assert.Equal(1, count));
            Assert.Throws<InvalidOperationException>(() => KernelThreads.ForEach(100, part => throw new InvalidOperationException($"part {part}")));
        }
        finally
        {
            TorchThreads.Set(threads);
        }
    }

    [Fact]
    public void Arguments_that_do_not_fit_are_refused()
    {
        RequireVectors();
        using var scope = NewDisposeScope();
        var x = ones(4, 32);
        Assert.False(RmsNormKernel.Supports(ones(4, 32, dtype: ScalarType.Float64)));
        Assert.False(SwiGluKernel.Supports(ones(4, 31)));
        Assert.False(CrossEntropyKernel.Supports(x.t()));
        Assert.Throws<ArgumentException>(() => RmsNormKernel.Forward(x, ones(31), 1e-5));
        Assert.Throws<ArgumentException>(() => RmsNormKernel.Backward(ones(4, 31), x, ones(32), ones(4), ones(32)));
        Assert.Throws<ArgumentException>(() => RmsNormKernel.Backward(x, x, ones(32), ones(3), ones(32)));
        Assert.Throws<ArgumentException>(() => SwiGluKernel.Backward(ones(4, 32), x));
        Assert.Throws<ArgumentException>(() => CrossEntropyKernel.Differentiate(x, ones(4), ones(4), ones(4), 0, 1));
        Assert.Throws<ArgumentException>(() => RotaryKernel.Rotate(ones(1, 8, 2, 32), 3, ones(8, 16), ones(8, 16), 1, ones(1, 8, 2, 32)));
        Assert.Throws<ArgumentException>(() => RotaryKernel.Rotate(ones(1, 8, 2, 32), 2, ones(7, 16), ones(7, 16), 1, ones(1, 8, 2, 32)));
        Assert.Throws<ArgumentException>(() => WideningSum.Add(x, x));
    }
}
