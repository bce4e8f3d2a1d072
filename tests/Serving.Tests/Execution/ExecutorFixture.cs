using System.Runtime.InteropServices;
using Platform.Core.Models;
using Platform.Formats.Peft;
using Platform.Formats.Safetensors;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Adapters;
using Platform.Serving.Execution.Kernels;
using Platform.Serving.Execution.Sharding;
using Platform.Torch;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Serving.Tests.Execution;

/// <summary>Builds executors over tiny models and runs schedulers with them.</summary>
internal static class ExecutorFixture
{
    public static SchedulerLimits Limits(ModelConfig config, int blocks = 96, int batched = 256, int sequences = 32, bool caching = false) => new()
    {
        MaxSequences = sequences,
        MaxBatchedTokens = batched,
        MaxWaiting = 100,
        ContextLength = config.MaxPositionEmbeddings,
        BlockSize = 16,
        BlockCount = blocks,
        PrefixCaching = caching,
    };

    public static ModelExecutor<T> Create<T>(
        TinyModel model, SchedulerLimits limits, TileKernel<T>? kernel = null, int threads = 2, WeightStorage storage = WeightStorage.Plain,
        TensorPeers? peers = null, params TinyAdapter[] adapters)
        where T : unmanaged, IElement<T>
    {
        var lanes = new ComputeLanes(threads);
        var pins = new List<GCHandle>();
        try
        {
            var weights = ModelWeights<T>.Load(model.Config, peers?.Shard ?? TensorShard.Whole, storage, lanes, parameter =>
            {
                pins.Add(GCHandle.Alloc(model.ByName[parameter.Name], GCHandleType.Pinned));
                return new WeightView(pins[^1].AddrOfPinnedObject(), TensorDataType.F32);
            });
            return new ModelExecutor<T>(
                weights, new ExecutorLimits(limits.MaxBatchedTokens, limits.LongestSequence, limits.BlockSize, limits.BlockCount),
                kernel ?? KernelChoice.For<T>().Kernel, lanes, peers,
                [.. adapters.Select((adapter, i) => Load<T>(adapter, i, weights.Shard, lanes))]);
        }
        finally
        {
            pins.ForEach(pin => pin.Free());
        }
    }

    private static AdapterWeights<T> Load<T>(TinyAdapter adapter, int index, TensorShard shard, ComputeLanes lanes)
        where T : unmanaged, IElement<T>
    {
        var path = Directory.CreateTempSubdirectory("serving-test-").FullName;
        try
        {
            using var directory = LoraAdapterDirectory.Open(adapter.Write(path));
            Assert.Empty(directory.Validate(adapter.Config, adapter.Rank));
            return AdapterWeights<T>.Load($"adapter-{index + 1}", adapter.Config, shard, directory, lanes);
        }
        finally
        {
            Directory.Delete(path, recursive: true);
        }
    }

    public static Tensor Tensor(TinyModel model, string name, ReadOnlySpan<long> shape) =>
        TensorMemory.FromSpan<float>(model.ByName[name], shape, torch.ScalarType.Float32);

    public static int[] Prompt(int length, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(256))];
    }

    /// <summary>Logits of every sampled step of each prompt, the next token being the most likely one.</summary>
    public static List<float[]>[] Run(
        IModelExecutor executor, SchedulerLimits limits, IReadOnlyList<int[]> prompts, int outputs, int budget = int.MaxValue,
        int[]? adapters = null) =>
        Run(executor, new IterationScheduler(limits), prompts, outputs, budget, adapters);

    public static List<float[]>[] Run(
        IModelExecutor executor, IterationScheduler scheduler, IReadOnlyList<int[]> prompts, int outputs, int budget = int.MaxValue,
        int[]? adapters = null)
    {
        var rows = new LogitRows(executor.Config.VocabSize);
        var results = prompts.Select(_ => new List<float[]>()).ToArray();
        for (var i = 0; i < prompts.Count; i++)
        {
            Assert.IsType<Admission.Accepted>(scheduler.Submit(new SequenceRequest(
                i, prompts[i], prompts[i].Length, prompts[i].Length + outputs, "t", Adapter: adapters?[i] ?? 0)));
        }

        while (scheduler.HasWork)
        {
            var plan = scheduler.Plan(budget);
            executor.Run(plan.Spans, rows);
            var sampled = new List<SampledToken>();
            foreach (var span in plan.Spans)
            {
                if (!span.Samples)
                    continue;
                var logits = rows[sampled.Count].ToArray();
                results[span.Sequence.Id].Add(logits);
                sampled.Add(new(span.Sequence, Array.IndexOf(logits, logits.Max()), results[span.Sequence.Id].Count == outputs));
            }

            scheduler.Apply(plan, [.. sampled]);
        }

        return results;
    }
}
