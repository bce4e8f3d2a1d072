using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Serving;
using Platform.Serving.Core.Output;
using Platform.Serving.Core.Sampling;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Engine;

namespace Platform.Benchmarks.Serving;

/// <summary>The serving engine in this process: requests in, the times of their tokens out.</summary>
internal sealed class EngineUnderTest : IDisposable
{
    private readonly EngineLoop _engine;

    /// <summary>Loads a model.</summary>
    public EngineUnderTest(
        BenchModel model, EngineOptions options, double pacing = 4, int queue = 4096, string? draft = null, IReadOnlyList<AdapterSource>? adapters = null)
    {
        var settings = new ReplicaSettings("bench", model.Directory, options, queue, Environment.ProcessorCount) { DraftDirectory = draft, Adapters = adapters ?? [] };
        var loaded = ReplicaModel.Load(settings);
        Kernel = loaded.Kernel;
        Observer = new BenchObserver();
        _engine = new EngineLoop(
            loaded.Executor, loaded.Limits, new PromptPacing(pacing, Replica.FewestPromptTokens, loaded.Limits.MaxBatchedTokens), loaded.Tokenizer, Observer,
            TimeProvider.System, NullLogger.Instance, Replica.Speculator(settings, loaded),
            new SleepSettings(() => ReplicaModel.Reload(settings, loaded.Limits), null, null, loaded.WeightBytes));
    }

    public string Kernel { get; }

    public BenchObserver Observer { get; }

    /// <summary>When each token of each stream came, in seconds of one clock.</summary>
    public double[][] Stream(int[][] prompts, int count) => Task.WhenAll(prompts.Select(prompt => TimesAsync(prompt, count))).GetAwaiter().GetResult();

    /// <summary>Seconds from submission to the first token.</summary>
    public double FirstToken(int[] prompt)
    {
        var started = Now;
        return Stream([prompt], 1)[0][0] - started;
    }

    /// <summary>Seconds on the clock of the times.</summary>
    public static double Now => Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;

    /// <summary>The tokens of one stream, greedily.</summary>
    public async Task<List<int>> TokensAsync(int[] prompt, int count)
    {
        var tokens = new List<int>();
        await foreach (var update in (await SubmitAsync(prompt, count)).Updates.ReadAllAsync())
            tokens.AddRange(update.TokenIds);
        return tokens;
    }

    /// <summary>The logits after a prompt.</summary>
    public async Task<float[]> LogitsAsync(int[] prompt)
    {
        await foreach (var update in (await SubmitAsync(prompt, 1, wantsLogits: true)).Updates.ReadAllAsync())
        {
            if (update.Logits is { } logits)
                return logits;
        }

        throw new InvalidOperationException("A request ended without its logits.");
    }

    /// <summary>When the tokens of one stream came.</summary>
    public async Task<double[]> TimesAsync(int[] prompt, int count, int adapter = 0)
    {
        var request = await SubmitAsync(prompt, count, adapter);
        var times = new List<double>(count);
        await foreach (var update in request.Updates.ReadAllAsync())
        {
            for (var i = 0; i < update.TokenIds.Count; i++)
                times.Add(Now);
        }

        if (times.Count != count)
            throw new InvalidOperationException($"A request ended after {times.Count} of {count} tokens.");
        return [.. times];
    }

    /// <summary>Has the model give its memory back, and waits until it has.</summary>
    public void PutToSleep()
    {
        ((ModelResidency.IResident)_engine).AskToSleep();
        SpinWait.SpinUntil(() => _engine.IsAsleep);
    }

    /// <summary>Runs one request to its end.</summary>
    public async Task DrainAsync(int[] prompt, int count)
    {
        var tokens = 0;
        await foreach (var update in (await SubmitAsync(prompt, count)).Updates.ReadAllAsync())
            tokens += update.TokenIds.Count;
        if (tokens != count)
            throw new InvalidOperationException($"A request ended after {tokens} of {count} tokens.");
    }

    /// <summary>When the tokens of one stream came, until it is cancelled.</summary>
    public async Task<double[]> TimesUntilAsync(int[] prompt, int most, CancellationToken stop)
    {
        var request = await SubmitAsync(prompt, most);
        await using var registration = stop.Register(request.Cancel);
        var times = new List<double>(most);
        await foreach (var update in request.Updates.ReadAllAsync(CancellationToken.None))
        {
            for (var i = 0; i < update.TokenIds.Count; i++)
                times.Add(Now);
        }

        return [.. times];
    }

    public void Dispose() => _engine.Dispose();

    private async Task<ActiveRequest> SubmitAsync(int[] prompt, int count, int adapter = 0, bool wantsLogits = false) => await _engine.SubmitAsync(new GenerationRequest
    {
        Tenant = "bench",
        Adapter = adapter,
        Prompt = prompt,
        Sampling = new SamplingSettings { Temperature = 0 },
        WantsLogits = wantsLogits,
        Stop = new StopConditions(new HashSet<int>(), count, []),
    }) switch
    {
        Submission.Accepted accepted => accepted.Request,
        var other => throw new InvalidOperationException($"The engine refused a request: {other}."),
    };
}

/// <summary>Watches how much of the key/value cache is taken and not used.</summary>
internal sealed class BenchObserver : IEngineObserver
{
    private double _taken, _unused;
    private volatile IterationWatch? _watch;

    /// <summary>Sees the iterations from now on; one watch at a time.</summary>
    public void Watch(IterationWatch watch) => _watch = watch;

    /// <summary>Tokens' places in blocks that sequences hold and have no token for, in percent, over all iterations.</summary>
    public double WastePercent => _taken > 0 ? 100 * _unused / _taken : 0;

    /// <summary>How long the last waking took.</summary>
    public double WakeSeconds { get; private set; }

    /// <summary>Sequences that lost their blocks.</summary>
    public long Preemptions { get; private set; }

    /// <summary>Guesses that were checked.</summary>
    public long Drafted { get; private set; }

    /// <summary>Those that were right.</summary>
    public long Accepted { get; private set; }

    public void Iterated(IterationScheduler scheduler, IterationPlan plan, int produced, EngineSnapshot snapshot, IterationCost cost)
    {
        _watch?.Add(cost);
        foreach (var sequence in scheduler.Running)
        {
            var places = sequence.Blocks.Length * scheduler.Limits.BlockSize;
            _taken += places;
            _unused += Math.Max(0, places - sequence.Tokens.Length);
        }

        Preemptions = scheduler.PreemptionCount;
        (Drafted, Accepted) = (scheduler.DraftedTokens, scheduler.AcceptedTokens);
    }

    public void Idle(EngineSnapshot snapshot)
    {
    }

    public void Admitted(GenerationRequest request)
    {
    }

    public void FirstToken(ChoiceTimes times)
    {
    }

    public void NextToken(double seconds)
    {
    }

    public void Finished(FinishReason reason, ChoiceTimes times, int tokens)
    {
    }

    public void Closed(int mostTokens)
    {
    }

    public void Slept()
    {
    }

    public void Woke(double seconds) => WakeSeconds = seconds;
}
