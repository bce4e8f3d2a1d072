using Microsoft.Extensions.Time.Testing;
using Platform.Core.Models;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Kernels;
using Platform.Serving.Execution.Sharding;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;
using static Platform.Serving.Tests.Execution.ExecutorFixture;

namespace Platform.Serving.Tests.Execution;

public sealed class TensorParallelTests
{
    public static TheoryData<string, int> Divisions => new()
    {
        { "llama", 2 }, { "llama", 6 }, { "odd", 3 }, { "qwen2", 2 }, { "qwen3", 2 }, { "tied", 2 }, { "tied", 6 }, { "one key", 4 },
    };

    private static ModelConfig Shape(string name) => name switch
    {
        "llama" => TinyModel.Shape,
        "odd" => TinyModel.Shape with { NumKeyValueHeads = 3, IntermediateSize = 83 },
        "qwen2" => TinyModel.Shape with { AttentionBias = true },
        "qwen3" => TinyModel.Shape with { QkNorm = true, HeadDim = 16 },
        "tied" => TinyModel.Shape with { TieWordEmbeddings = true, NumKeyValueHeads = 6 },
        _ => TinyModel.Shape with { HeadDim = 72, NumAttentionHeads = 4, NumKeyValueHeads = 1 },
    };

    [Theory]
    [MemberData(nameof(Divisions))]
    public void Shares_give_the_logits_of_the_whole_model_and_the_same_greedy_tokens(string shape, int width)
    {
        var config = Shape(shape);
        var model = new TinyModel(config, 1);
        var limits = Limits(config);
        int[][] prompts = [Prompt(1, 1), Prompt(17, 2), Prompt(40, 3), Prompt(5, 4), Prompt(100, 5)];
        using var whole = Create<Float32Element>(model, limits);
        var expected = Run(whole, limits, prompts, 12, budget: 23);
        Divided<Float32Element>(model, limits, width, leader =>
        {
            var found = Run(leader, limits, prompts, 12, budget: 23);
            for (var i = 0; i < prompts.Length; i++)
            {
                for (var step = 0; step < 12; step++)
                {
                    Assert.True(MaxDifference(expected[i][step], found[i][step]) < 1e-4, $"prompt {i}, step {step}");
                    Assert.Equal(Largest(expected[i][step]), Largest(found[i][step]));
                }
            }
        });
    }

    [Theory]
    [MemberData(nameof(Divisions))]
    public void Shares_of_adapters_give_the_logits_of_whole_ones(string shape, int width)
    {
        var config = Shape(shape);
        var model = new TinyModel(config, 1);
        TinyAdapter[] adapters = [new(config, 5, 6), new(config, 6, 3, 5, "k_proj", "o_proj", "gate_proj", "down_proj")];
        var limits = Limits(config);
        int[][] prompts = [Prompt(9, 1), Prompt(17, 2), Prompt(20, 3), Prompt(5, 4)];
        int[] used = [2, 0, 1, 2];
        using var whole = Create<Float32Element>(model, limits, adapters: adapters);
        var expected = Run(whole, limits, prompts, 4, budget: 23, used);
        Divided<Float32Element>(model, limits, width, adapters: adapters, body: leader =>
        {
            var found = Run(leader, limits, prompts, 4, budget: 23, used);
            for (var i = 0; i < prompts.Length; i++)
            {
                for (var step = 0; step < 4; step++)
                    Assert.True(MaxDifference(expected[i][step], found[i][step]) < 1e-4, $"prompt {i}, step {step}");
            }
        });
    }

    [Fact]
    public void Hidden_states_are_those_of_the_whole_model()
    {
        var model = new TinyModel(TinyModel.Shape, 3);
        var limits = Limits(model.Config);
        using var whole = Create<Float32Element>(model, limits);
        var expected = Hidden(whole);
        Divided<Float32Element>(model, limits, 2, leader => Assert.True(MaxDifference(expected, Hidden(leader)) < 1e-4));

        float[] Hidden(IModelExecutor executor)
        {
            Run(executor, limits, [Prompt(30, 7)], 1);
            var state = new float[model.Config.HiddenSize];
            executor.ReadHidden(29, state);
            return state;
        }
    }

    [Fact]
    public void Bits_of_a_divided_model_do_not_depend_on_neighbours_chunks_preemption_or_shared_prefixes_in_fp32() => CheckInvariance<Float32Element>();

    [Fact]
    public void Bits_of_a_divided_model_do_not_depend_on_neighbours_chunks_preemption_or_shared_prefixes_in_bf16() => CheckInvariance<BFloat16Element>();

    [Fact]
    public void Bits_of_a_divided_model_do_not_depend_on_neighbours_chunks_preemption_or_shared_prefixes_in_int8() =>
        CheckInvariance<BFloat16Element>(WeightStorage.Quantised);

    [Fact]
    public void The_self_test_of_a_divided_model_catches_a_kernel_whose_sums_depend_on_the_rows()
    {
        var model = new TinyModel(TinyModel.Shape, 1);
        var limits = Limits(model.Config);
        Divided<Float32Element>(model, limits, 2, leader => Assert.Null(InvarianceSelfTest.Run(leader, limits)));
        Divided<Float32Element>(
            model, limits, 2, leader => Assert.Contains("differ", InvarianceSelfTest.Run(leader, limits), StringComparison.Ordinal),
            kernel: new RowDependentKernel());
    }

    [Fact]
    public void Each_rank_holds_its_share_of_weights_and_cache()
    {
        var model = new TinyModel(TinyModel.Shape with { VocabSize = 320 }, 1);
        var whole = KeyValueCacheShape.BytesPerBlock(model.Config, 16, 4);
        Assert.Equal(whole / 2, KeyValueCacheShape.BytesPerBlock(new TensorShard(1, 2).Of(model.Config), 16, 4));
        Assert.Equal([new ShardRange(0, 160), new ShardRange(160, 160)], [new TensorShard(0, 2).Vocabulary(model.Config), new TensorShard(1, 2).Vocabulary(model.Config)]);
        Assert.Equal([0, 0, 0, 1, 1, 1], Enumerable.Range(0, 6).Select(rank => new TensorShard(rank, 6).KeyValues(model.Config).First));
    }

    [Theory]
    [InlineData(4, "attention heads")]
    [InlineData(100, "attention heads")]
    public void A_width_that_does_not_divide_the_heads_is_refused(int width, string because) =>
        Assert.Contains(because, TensorShard.Refusal(TinyModel.Shape, width), StringComparison.Ordinal);

    [Fact]
    public void A_width_that_does_not_fit_the_key_heads_is_refused() =>
        Assert.Contains("key/value heads", TensorShard.Refusal(TinyModel.Shape with { NumAttentionHeads = 12, NumKeyValueHeads = 4 }, 6), StringComparison.Ordinal);

    [Fact]
    public void An_iteration_whose_follower_failed_fails_and_says_why()
    {
        var model = new TinyModel(TinyModel.Shape, 1);
        var limits = Limits(model.Config);
        var worlds = LoopbackWorld.CreateAll(2);
        var lost = new List<Exception>();
        using var leader = Create<Float32Element>(model, limits, peers: new TensorPeers(worlds[0], new FakeTimeProvider(), lost.Add));
        worlds[1].Abort("out of luck");
        Assert.Throws<CollectiveAbortedException>(() => Run(leader, limits, [Prompt(5, 1)], 1));
        Assert.Contains("out of luck", Assert.Single(lost).Message, StringComparison.Ordinal);
        worlds[1].Dispose();
    }

    [Fact]
    public async Task An_idle_leader_is_heard_and_notices_that_a_follower_is_gone()
    {
        var model = new TinyModel(TinyModel.Shape, 1);
        var worlds = LoopbackWorld.CreateAll(2);
        var time = new FakeTimeProvider();
        var lost = new List<Exception>();
        using var leader = Create<Float32Element>(model, Limits(model.Config), peers: new TensorPeers(worlds[0], time, lost.Add));
        using var peers = new TensorPeers(worlds[1], time, _ => { });
        peers.Prepare(0);
        var follower = Task.Factory.StartNew(
            () => peers.Receive(new IterationBatch(8, 1)), TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        time.Advance(TimeSpan.FromSeconds(1));
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.InRange(Assert.Single(peers.Status()).Sequence, 2, 3);
        Assert.Empty(lost);
        worlds[1].Abort("gone");
        await Assert.ThrowsAsync<CollectiveAbortedException>(() => follower);
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.Contains("gone", Assert.Single(lost).Message, StringComparison.Ordinal);
    }

    private static void CheckInvariance<T>(WeightStorage storage = WeightStorage.Plain)
        where T : unmanaged, IElement<T>
    {
        var model = new TinyModel(TinyModel.Shape, 2);
        var limits = Limits(model.Config, blocks: 512, sequences: 64);
        Divided<T>(model, limits, 2, leader => Needle.Check(leader, limits), storage);
    }

    /// <summary>Runs a body on the leader of a divided model while the other ranks follow on threads of their own.</summary>
    private static void Divided<T>(
        TinyModel model, SchedulerLimits limits, int width, Action<IModelExecutor> body, WeightStorage storage = WeightStorage.Plain,
        TileKernel<T>? kernel = null, params TinyAdapter[] adapters)
        where T : unmanaged, IElement<T>
    {
        var worlds = LoopbackWorld.CreateAll(width);
        var failures = new List<Exception>();
        var followers = worlds.Skip(1).Select(world => new Thread(() =>
        {
            try
            {
                using var shard = Create(model, limits, kernel, threads: 1, storage, new TensorPeers(world, new FakeTimeProvider(), _ => { }), adapters);
                shard.Follow(() => { });
            }
            catch (Exception exception)
            {
                lock (failures)
                    failures.Add(exception);
                world.Abort(exception.Message);
            }
        })
        { IsBackground = true }).ToList();
        followers.ForEach(thread => thread.Start());
        using (var leader = Create(model, limits, kernel, threads: 1, storage, new TensorPeers(worlds[0], new FakeTimeProvider(), _ => { }), adapters))
            body(leader);
        followers.ForEach(thread => thread.Join());
        Assert.Empty(failures);
    }

    private static float MaxDifference(float[] a, float[] b) => a.Zip(b, (x, y) => MathF.Abs(x - y)).Max();

    private static int Largest(float[] logits) => Array.IndexOf(logits, logits.Max());
}
