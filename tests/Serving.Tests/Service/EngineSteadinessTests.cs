using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Deployments;
using Platform.Serving.Adapters;
using Platform.Serving.Core.Output;
using Platform.Serving.Core.Sampling;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Engine;

namespace Platform.Serving.Tests.Service;

public sealed class EngineSteadinessTests : IDisposable
{
    private const int MostBytesPerIteration = 2048;

    private readonly string _directory = Directory.CreateTempSubdirectory("serving-test-").FullName;

    public EngineSteadinessTests() => new TinyModel(TinyModel.Shape, 4).Write(_directory);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task An_iteration_allocates_hardly_anything_besides_its_responses()
    {
        using var engine = Start(out var watch);
        foreach (var streams in new[] { 3, 2, 12 })
        {
            await Task.WhenAll(Enumerable.Range(0, streams).Select(async i =>
            {
                var request = await SubmitAsync(engine, i, 120);
                await foreach (var _ in request.Updates.ReadAllAsync(TestContext.Current.CancellationToken))
                {
                }
            }));
        }

        engine.Dispose();
        // Every stream gets a response in every iteration, so what does not grow with the streams is the iteration's own.
        var (few, many) = (Mean(2), Mean(12));
        var perResponse = (many - few) / 10;
        Assert.InRange(few - (2 * perResponse), double.MinValue, MostBytesPerIteration);
        Assert.InRange(perResponse, 24, 1024);

        double Mean(int streams)
        {
            var steady = watch.Bytes.Where(entry => entry.Streams == streams).Select(entry => entry.Bytes).ToList();
            Assert.InRange(steady.Count, 80, 400);
            return steady.Average();
        }
    }

    [Fact]
    public async Task A_client_that_leaves_frees_its_blocks_before_the_next_iteration()
    {
        using var engine = Start(out var watch);
        var used = new List<(int Running, int Used)>();
        using var queued = new ManualResetEventSlim();
        var both = new TaskCompletionSource<ActiveRequest>();
        // On the engine's own thread, so that no iteration runs unseen; once both run, it waits until the test knows them.
        watch.After = snapshot =>
        {
            queued.Wait();
            if (snapshot.Running != 2 && used.Count == 0)
                return;
            var request = both.Task.GetAwaiter().GetResult();
            if (request.Updates.Count > 20)
                request.Cancel();
            if (request.IsCancelled)
                used.Add((snapshot.Running, snapshot.BlocksTotal - snapshot.BlocksFree));
        };
        var (first, second) = (SubmitAsync(engine, 1, 100), SubmitAsync(engine, 2, 120));
        queued.Set();
        var stays = await first;
        both.SetResult(await second);
        await foreach (var _ in stays.Updates.ReadAllAsync(TestContext.Current.CancellationToken))
        {
        }

        engine.Dispose();
        Assert.Equal(2, used[0].Running);
        Assert.Equal(1, used[1].Running);
        // It held at least two blocks, and the other may have got one more.
        Assert.InRange(used[1].Used, 1, used[0].Used - 1);
    }

    private EngineLoop Start(out Watch watch)
    {
        var settings = new ReplicaSettings("tiny", _directory, new EngineOptions { Dtype = "fp32", KvCacheBytes = 1 << 20 }, 64, 2);
        var model = ReplicaModel.Load(settings);
        watch = new Watch(new ServingMetrics("steady", model.Limits, 0));
        return new EngineLoop(
            model.Executor, model.Limits, new PromptPacing(4, 4, model.Limits.MaxBatchedTokens), model.Tokenizer, watch, TimeProvider.System,
            NullLogger.Instance);
    }

    private static async Task<ActiveRequest> SubmitAsync(EngineLoop engine, int seed, int tokens) =>
        Assert.IsType<Submission.Accepted>(await engine.SubmitAsync(new GenerationRequest
        {
            Tenant = "t",
            Prompt = RunningReplica.Prompt(10, seed),
            Sampling = new SamplingSettings { Temperature = 0 },
            Stop = new StopConditions(new HashSet<int>(), tokens, []),
        })).Request;

    /// <summary>Passes on to the replica's metrics and counts what the engine's thread allocates from iteration to iteration.</summary>
    private sealed class Watch(IEngineObserver inner) : IEngineObserver
    {
        private long _allocated;

        public List<(int Streams, long Bytes)> Bytes { get; } = new(4096);

        public Action<EngineSnapshot>? After { get; set; }

        public void Iterated(IterationScheduler scheduler, IterationPlan plan, int produced, EngineSnapshot snapshot, IterationCost cost)
        {
            inner.Iterated(scheduler, plan, produced, snapshot, cost);
            Bytes.Add((cost.PromptTokens == 0 ? cost.Streams : 0, GC.GetAllocatedBytesForCurrentThread() - _allocated));
            After?.Invoke(snapshot);
            _allocated = GC.GetAllocatedBytesForCurrentThread();
        }

        public void Idle(EngineSnapshot snapshot) => inner.Idle(snapshot);

        public void Admitted(GenerationRequest request) => inner.Admitted(request);

        public void FirstToken(ChoiceTimes times) => inner.FirstToken(times);

        public void NextToken(double seconds) => inner.NextToken(seconds);

        public void Finished(FinishReason reason, ChoiceTimes times, int tokens) => inner.Finished(reason, times, tokens);

        public void Closed(int mostTokens) => inner.Closed(mostTokens);

        public void Slept() => inner.Slept();

        public void Woke(double seconds) => inner.Woke(seconds);
    }
}
