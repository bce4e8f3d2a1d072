using Platform.Core.Models;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Execution;
using Platform.Torch.Models.Llama;
using TorchSharp;
using static Platform.Serving.Tests.Execution.ExecutorFixture;

namespace Platform.Serving.Tests.Execution;

public sealed class ModelExecutorTests
{
    public static TheoryData<string> Shapes => new("llama", "qwen2", "qwen3", "tied", "wide heads", "llama3 rope");

    private static ModelConfig Shape(string name) => name switch
    {
        "llama" => TinyModel.Shape,
        "qwen2" => TinyModel.Shape with { AttentionBias = true },
        "qwen3" => TinyModel.Shape with { QkNorm = true, HeadDim = 16 },
        "tied" => TinyModel.Shape with { TieWordEmbeddings = true, NumKeyValueHeads = 6 },
        "wide heads" => TinyModel.Shape with { HeadDim = 72, NumAttentionHeads = 4, NumKeyValueHeads = 1 },
        _ => TinyModel.Shape with { RopeScaling = new RopeScaling("llama3", 4, 1, 4, 32) },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Logits_are_those_of_the_reference_model_alone_and_batched(string shape)
    {
        var model = new TinyModel(Shape(shape), 1);
        var limits = Limits(model.Config);
        int[][] prompts = [Prompt(1, 1), Prompt(17, 2), Prompt(40, 3), Prompt(5, 4), Prompt(100, 5)];
        using var executor = Create<Float32Element>(model, limits);
        var batched = Run(executor, limits, prompts, 3, budget: 23);
        using var reference = new LlamaModel(
            model.Config, parameter => Tensor(model, parameter.Name, parameter.Shape.AsSpan()), torch.ScalarType.Float32, torch.CPU);
        for (var i = 0; i < prompts.Length; i++)
        {
            var alone = Assert.Single(Run(executor, limits, [prompts[i]], 3));
            var tokens = prompts[i].ToList();
            for (var step = 0; step < 3; step++)
            {
                var expected = LastLogits(reference, tokens);
                Assert.True(MaxDifference(expected, alone[step]) < 1e-4, $"alone, prompt {i}, step {step}");
                Assert.Equal(alone[step], batched[i][step]);
                tokens.Add(Array.IndexOf(alone[step], alone[step].Max()));
            }
        }
    }

    [Fact]
    public void Bf16_logits_stay_near_fp32()
    {
        var model = new TinyModel(TinyModel.Shape, 1);
        var limits = Limits(model.Config);
        using var single = Create<Float32Element>(model, limits);
        using var half = Create<BFloat16Element>(model, limits);
        var expected = Assert.Single(Run(single, limits, [Prompt(40, 3)], 1))[0];
        var found = Assert.Single(Run(half, limits, [Prompt(40, 3)], 1))[0];
        var scale = expected.Max(MathF.Abs);
        Assert.InRange(MaxDifference(expected, found) / scale, 1e-6, 0.05);
    }

    [Fact]
    public void Bits_do_not_depend_on_neighbours_chunks_preemption_or_shared_prefixes_in_fp32() => CheckInvariance<Float32Element>();

    [Fact]
    public void Bits_do_not_depend_on_neighbours_chunks_preemption_or_shared_prefixes_in_bf16() => CheckInvariance<BFloat16Element>();

    [Fact]
    public void One_fixed_shape_for_all_products_is_invariant_too()
    {
        var model = new TinyModel(TinyModel.Shape, 1);
        var limits = Limits(model.Config);
        using var executor = Create<Float32Element>(model, limits);
        executor.UseFallbackPadding();
        Assert.Null(InvarianceSelfTest.Run(executor, limits));
    }

    [Fact]
    public void The_self_test_passes_with_the_right_padding_and_catches_a_wrong_one()
    {
        var model = new TinyModel(TinyModel.Shape, 1);
        var limits = Limits(model.Config);
        using var padded = Create<Float32Element>(model, limits);
        Assert.Null(InvarianceSelfTest.Run(padded, limits));
        using var unpadded = Create<Float32Element>(model, limits, new RowPadding(1, 1, Fixed: false));
        Assert.Contains("differ", InvarianceSelfTest.Run(unpadded, limits), StringComparison.Ordinal);
    }

    private static void CheckInvariance<T>()
        where T : unmanaged, IElement<T>
    {
        var model = new TinyModel(TinyModel.Shape, 2);
        var limits = Limits(model.Config);
        using var executor = Create<T>(model, limits);
        var needle = Prompt(37, 9);
        var expected = Assert.Single(Run(executor, limits, [needle], 12));
        foreach (var neighbours in new[] { 1, 2, 7, 16, 31 })
        {
            int[][] prompts = [.. Enumerable.Range(0, neighbours).Select(i => Prompt(1 + (i * 3), 100 + i))];
            int[][] all = [.. prompts[..(neighbours / 2)], needle, .. prompts[(neighbours / 2)..]];
            Same(expected, Run(executor, limits, all, 12, budget: 5)[neighbours / 2]);
            Same(expected, Run(executor, limits, all, 12)[neighbours / 2]);
        }

        var crowded = new IterationScheduler(limits with { BlockCount = 7 });
        Same(expected, Run(executor, crowded, [Prompt(30, 5), Prompt(20, 6), needle], 12)[2]);
        Assert.True(crowded.PreemptionCount > 0);

        var caching = new IterationScheduler(limits with { PrefixCaching = true });
        Run(executor, caching, [[.. needle[..33], 1, 2, 3]], 1);
        Same(expected, Assert.Single(Run(executor, caching, [needle], 12)));
        Assert.Equal(32, caching.PrefixHitTokens);
    }

    private static void Same(List<float[]> expected, List<float[]> found)
    {
        Assert.Equal(expected.Count, found.Count);
        for (var step = 0; step < expected.Count; step++)
            Assert.True(expected[step].AsSpan().SequenceEqual(found[step]), $"The logits of step {step} differ.");
    }

    private static float[] LastLogits(LlamaModel model, List<int> tokens)
    {
        using var scope = torch.NewDisposeScope();
        using var withoutGradients = torch.no_grad();
        var input = torch.tensor(tokens.Select(token => (long)token).ToArray()).view(1, -1);
        return model.Forward(input, withHiddenStates: false).Logits_BTV[0, tokens.Count - 1].data<float>().ToArray();
    }

    private static float MaxDifference(float[] a, float[] b) => a.Zip(b, (x, y) => MathF.Abs(x - y)).Max();
}
