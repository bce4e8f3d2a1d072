using Platform.Core.Models;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Kernels;
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
    public void Bits_do_not_depend_on_neighbours_chunks_preemption_or_shared_prefixes_in_int8() =>
        CheckInvariance<BFloat16Element>(storage: WeightStorage.Quantised);

    [Fact]
    public void Bits_do_not_depend_on_neighbours_chunks_preemption_or_shared_prefixes_on_portable_kernels() =>
        CheckInvariance(new PortableTileKernel<BFloat16Element>());

    [Fact]
    public void The_self_test_passes_and_catches_a_kernel_whose_sums_depend_on_the_rows()
    {
        var model = new TinyModel(TinyModel.Shape, 1);
        var limits = Limits(model.Config);
        using var right = Create<Float32Element>(model, limits);
        Assert.Null(InvarianceSelfTest.Run(right, limits));
        using var wrong = Create<Float32Element>(model, limits, new RowDependentKernel());
        Assert.Contains("differ", InvarianceSelfTest.Run(wrong, limits), StringComparison.Ordinal);
    }

    [Fact]
    public void Int8_logits_stay_near_fp32_and_the_error_is_known()
    {
        var model = new TinyModel(TinyModel.Shape with { HiddenSize = 96 }, 1);
        var limits = Limits(model.Config);
        using var single = Create<Float32Element>(model, limits);
        using var bytes = Create<Float32Element>(model, limits, storage: WeightStorage.Quantised);
        var expected = Assert.Single(Run(single, limits, [Prompt(40, 3)], 1))[0];
        var found = Assert.Single(Run(bytes, limits, [Prompt(40, 3)], 1))[0];
        Assert.InRange(MaxDifference(expected, found) / expected.Max(MathF.Abs), 1e-6, 0.1);
    }

    private static void CheckInvariance<T>(TileKernel<T>? kernel = null, WeightStorage storage = WeightStorage.Plain)
        where T : unmanaged, IElement<T>
    {
        var model = new TinyModel(TinyModel.Shape, 2);
        var limits = Limits(model.Config, blocks: 512, sequences: 64);
        using var executor = Create(model, limits, kernel, storage: storage);
        Needle.Check(executor, limits);
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
