using Platform.Serving.Core.Scheduling;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Kernels;
using static Platform.Serving.Tests.Execution.ExecutorFixture;

namespace Platform.Serving.Tests.Execution;

public sealed class AdapterTests
{
    [Theory]
    [InlineData("llama", 4)]
    [InlineData("qwen2", 33, "q_proj", "v_proj")]
    [InlineData("qwen3", 7, "k_proj", "o_proj", "up_proj")]
    [InlineData("llama", 12, "gate_proj", "down_proj")]
    [InlineData("llama", 1, "down_proj")]
    public void Logits_are_those_of_the_model_merged_with_each_rows_adapter(string shape, int rank, params string[] targets)
    {
        var config = shape switch
        {
            "qwen2" => TinyModel.Shape with { AttentionBias = true },
            "qwen3" => TinyModel.Shape with { QkNorm = true, HeadDim = 16 },
            _ => TinyModel.Shape,
        };
        TinyAdapter[] adapters = [new(config, 21, rank, 8, targets), new(config, 22, 5, 3)];
        TinyModel[] merged = [new(config, 1), adapters[0].MergedInto(new(config, 1)), adapters[1].MergedInto(new(config, 1))];
        var limits = Limits(config);
        using var executor = Create<Float32Element>(new TinyModel(config, 1), limits, adapters: adapters);
        int[][] prompts = [Prompt(9, 1), Prompt(17, 2), Prompt(4, 3), Prompt(12, 4), Prompt(20, 5), Prompt(1, 6)];
        int[] used = [1, 0, 2, 1, 0, 2];
        var found = Run(executor, limits, prompts, 2, budget: 19, used);
        for (var i = 0; i < prompts.Length; i++)
        {
            var forward = new ScalarForward(merged[used[i]]);
            var tokens = prompts[i].ToList();
            for (var step = 0; step < 2; step++)
            {
                var expected = forward.Logits(tokens);
                Assert.True(MaxDifference(expected, found[i][step]) < 1e-4, $"prompt {i} with adapter {used[i]}, step {step}: {MaxDifference(expected, found[i][step])}");
                tokens.Add(Array.IndexOf(found[i][step], found[i][step].Max()));
            }

            // An adapter that changed nothing would pass as well.
            if (used[i] != 0)
                Assert.True(MaxDifference(new ScalarForward(merged[0]).Logits(prompts[i]), found[i][0]) > 1e-2, $"prompt {i}");
        }
    }

    [Fact]
    public void Bf16_and_int8_logits_with_an_adapter_stay_near_the_merged_model()
    {
        var adapter = new TinyAdapter(TinyModel.Shape, 21);
        var limits = Limits(TinyModel.Shape);
        using var single = Create<Float32Element>(adapter.MergedInto(new TinyModel(TinyModel.Shape, 1)), limits);
        var expected = Assert.Single(Run(single, limits, [Prompt(40, 3)], 1))[0];
        foreach (var storage in new[] { WeightStorage.Plain, WeightStorage.Quantised })
        {
            using var half = Create<BFloat16Element>(new TinyModel(TinyModel.Shape, 1), limits, storage: storage, adapters: adapter);
            var found = Assert.Single(Run(half, limits, [Prompt(40, 3)], 1, adapters: [1]))[0];
            Assert.InRange(MaxDifference([.. expected.Select(value => (double)value)], found) / expected.Max(MathF.Abs), 1e-6, storage == WeightStorage.Plain ? 0.06 : 0.15);
        }
    }

    [Fact]
    public void Bits_do_not_depend_on_neighbours_with_other_adapters_in_fp32() => CheckInvariance<Float32Element>();

    [Fact]
    public void Bits_do_not_depend_on_neighbours_with_other_adapters_in_bf16() => CheckInvariance<BFloat16Element>();

    [Fact]
    public void Bits_do_not_depend_on_neighbours_with_other_adapters_in_int8() => CheckInvariance<BFloat16Element>(storage: WeightStorage.Quantised);

    [Fact]
    public void Bits_do_not_depend_on_neighbours_with_other_adapters_on_portable_kernels() =>
        CheckInvariance(new PortableTileKernel<BFloat16Element>());

    [Fact]
    public void A_sequence_without_an_adapter_has_the_bits_of_an_executor_without_adapters()
    {
        var model = new TinyModel(TinyModel.Shape, 2);
        var limits = Limits(model.Config);
        int[][] prompts = [Prompt(37, 9), Prompt(5, 1), Prompt(20, 2)];
        foreach (var storage in new[] { WeightStorage.Plain, WeightStorage.Quantised })
        {
            using var plain = Create<BFloat16Element>(model, limits, storage: storage);
            using var adapted = Create<BFloat16Element>(model, limits, storage: storage, adapters: [new(model.Config, 1), new(model.Config, 2)]);
            Same(Run(plain, limits, prompts, 6)[0], Run(adapted, limits, prompts, 6, adapters: [0, 1, 2])[0]);
        }
    }

    [Fact]
    public void Hidden_states_are_those_of_the_row_that_was_asked_for()
    {
        var model = new TinyModel(TinyModel.Shape, 2);
        var limits = Limits(model.Config);
        var adapter = new TinyAdapter(model.Config, 3);
        using var executor = Create<Float32Element>(model, limits, adapters: adapter);
        var scheduler = new IterationScheduler(limits);
        int[][] prompts = [Prompt(6, 1), Prompt(4, 2)];
        for (var i = 0; i < 2; i++)
            scheduler.Submit(new SequenceRequest(i, prompts[i], prompts[i].Length, prompts[i].Length + 1, "t", Adapter: 1 - i));
        executor.Run(scheduler.Plan(100).Spans, new LogitRows(model.Config.VocabSize));
        ScalarForward[] forwards = [new(adapter.MergedInto(new TinyModel(TinyModel.Shape, 2))), new(model)];
        var row = 0;
        var hidden = new float[model.Config.HiddenSize];
        for (var i = 0; i < 2; i++)
        {
            foreach (var expected in forwards[i].Hidden(prompts[i]))
            {
                executor.ReadHidden(row++, hidden);
                Assert.True(MaxDifference(expected, hidden) < 1e-4, $"row {row - 1}");
            }
        }
    }

    private static void CheckInvariance<T>(TileKernel<T>? kernel = null, WeightStorage storage = WeightStorage.Plain)
        where T : unmanaged, IElement<T>
    {
        var model = new TinyModel(TinyModel.Shape, 2);
        var limits = Limits(model.Config, blocks: 512, sequences: 64);
        TinyAdapter[] adapters = [new(model.Config, 1, 8), new(model.Config, 2, 3, 6, "q_proj", "down_proj"), new(model.Config, 3, 17, 9, "gate_proj", "v_proj", "o_proj")];
        using var executor = Create(model, limits, kernel, storage: storage, adapters: adapters);
        var needle = Prompt(37, 9);
        for (var adapter = 0; adapter <= adapters.Length; adapter++)
        {
            var expected = Assert.Single(Run(executor, limits, [needle], 8, adapters: [adapter]));
            foreach (var neighbours in new[] { 1, 6, 15, 63 })
            {
                int[][] all = [.. Enumerable.Range(0, neighbours + 1).Select(i => i == neighbours / 2 ? needle : Prompt(1 + (i * 3 % 97), 100 + i))];
                int[] used = [.. Enumerable.Range(0, neighbours + 1).Select(i => i == neighbours / 2 ? adapter : i % (adapters.Length + 1))];
                Same(expected, Run(executor, limits, all, 8, budget: 5, used)[neighbours / 2]);
                Same(expected, Run(executor, limits, all, 8, adapters: used)[neighbours / 2]);
            }

            var crowded = new IterationScheduler(limits with { BlockCount = 7 });
            Same(expected, Run(executor, crowded, [Prompt(30, 5), Prompt(20, 6), needle], 8, adapters: [1, 2, adapter])[2]);
            Assert.True(crowded.PreemptionCount > 0);

            // The same tokens with another adapter are another prefix.
            var caching = new IterationScheduler(limits with { PrefixCaching = true });
            Run(executor, caching, [needle], 1, adapters: [(adapter + 1) % (adapters.Length + 1)]);
            Same(expected, Assert.Single(Run(executor, caching, [needle], 8, adapters: [adapter])));
            Assert.Equal(0, caching.PrefixHitTokens);
            Same(expected, Assert.Single(Run(executor, caching, [needle], 8, adapters: [adapter])));
            Assert.Equal(32, caching.PrefixHitTokens);
        }
    }

    private static void Same(List<float[]> expected, List<float[]> found)
    {
        Assert.Equal(expected.Count, found.Count);
        for (var step = 0; step < expected.Count; step++)
            Assert.True(expected[step].AsSpan().SequenceEqual(found[step]), $"The logits of step {step} differ.");
    }

    private static double MaxDifference(double[] a, float[] b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Max();
}
