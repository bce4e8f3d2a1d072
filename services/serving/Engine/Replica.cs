using Microsoft.Extensions.Diagnostics.HealthChecks;
using Platform.Serving.Adapters;
using Platform.Serving.Core.Constraints;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Engine.Speculation;

namespace Platform.Serving.Engine;

/// <summary>A loaded model with its engine, and what its listeners need of it. Owns both.</summary>
internal sealed partial class Replica : IHostedLifecycleService, IHealthCheck, IDisposable
{
    /// <summary>Prompt tokens that an iteration always takes, whatever they cost its streams: one tile of attention.</summary>
    public const int FewestPromptTokens = 4;

    /// <summary>Starts an engine over a model, which the replica owns from now on.</summary>
    /// <param name="settings">What is served.</param>
    /// <param name="model">The loaded model.</param>
    /// <param name="grace">How long requests in progress may take to end when the replica stops.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Log.</param>
    /// <param name="sleep">How it sleeps; null when it never does.</param>
    public Replica(
        ReplicaSettings settings, ReplicaModel model, Func<TimeSpan> grace, TimeProvider time, ILogger<Replica> logger, SleepSettings? sleep = null)
    {
        Settings = settings;
        Grace = grace;
        if (model.KernelComplaint is { } complaint)
            LogPortableKernel(logger, complaint);
        if (settings.Engine.Dtype == "int8")
            LogQuantised(logger, model.QuantisationError);
        string[] names = [.. model.Adapters.Select(adapter => adapter.Name)];
        var pacing = new PromptPacing(settings.PromptPacing, Math.Min(FewestPromptTokens, model.Limits.MaxBatchedTokens), model.Limits.MaxBatchedTokens);
        Engine = new EngineLoop(model.Executor, model.Limits, pacing, model.Tokenizer, new ServingMetrics(settings.Model, model.Limits, model.QuantisationError, new AdapterGauge(settings.Model, names, settings.Engine.Lora?.MaxLoras ?? 0)), time, logger, Speculator(settings, model), sleep);
        Reader = new RequestReader(model.Config.VocabSize, model.Limits, settings.Engine.Generation, model.EndTokens, Constraints(model), names);
        foreach (var adapter in model.Adapters)
            LogAdapter(logger, adapter.Name, adapter.Rank, adapter.ByteLength >> 10);
        LogServing(
            logger, settings.Model, settings.ModelDirectory, model.Config.ParameterCount, settings.Engine.Dtype, model.WeightBytes >> 20,
            model.Limits.BlockCount, model.Limits.BlockSize, settings.ComputeThreads, model.Kernel);
    }

    /// <summary>Tokens that stand for no text, such as those that end one, never go on with a constrained output.</summary>
    private static ConstraintCompiler Constraints(ReplicaModel model) => new(
        model.Config.VocabSize,
        id => model.Tokenizer.IsSpecial(id) || model.EndTokens.Contains(id) ? [] : model.Tokenizer.TokenBytes(id).ToArray());

    /// <summary>What guesses ahead by the settings; it owns the draft model from then on.</summary>
    internal static ISpeculator? Speculator(ReplicaSettings settings, ReplicaModel model) => (settings.Engine.Speculative, model.Draft) switch
    {
        ({ } options, { } draft) => new DraftModelSpeculator(draft, options, model.Limits),
        ({ } options, null) => new PromptLookupSpeculator(options),
        _ => null,
    };

    public ReplicaSettings Settings { get; }

    public EngineLoop Engine { get; }

    public RequestReader Reader { get; }

    private Func<TimeSpan> Grace { get; }

    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken) =>
        Task.FromResult(Engine.IsAccepting ? HealthCheckResult.Healthy() : HealthCheckResult.Unhealthy("The replica is stopping."));

    public Task StoppingAsync(CancellationToken cancellationToken) => Engine.DrainAsync(Grace());

    public Task StopAsync(CancellationToken cancellationToken)
    {
        // Streams that outlived the grace end now, while their connections are still open.
        Dispose();
        return Task.CompletedTask;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public void Dispose() => Engine.Dispose();

    [LoggerMessage(
        EventId = 5010, Level = LogLevel.Information,
        Message = "Serving {Model} from {Directory}: {Parameters} parameters in {Dtype} ({MebiBytes} MiB), {Blocks} cache blocks of {BlockSize} tokens, {Threads} threads, {Kernel} kernels")]
    private static partial void LogServing(
        ILogger logger, string model, string directory, long parameters, string dtype, long mebiBytes, int blocks, int blockSize, int threads,
        string kernel);

    [LoggerMessage(
        EventId = 5013, Level = LogLevel.Information, Message = "Adapter {Name}: rank {Rank}, {KibiBytes} KiB")]
    private static partial void LogAdapter(ILogger logger, string name, int rank, long kibiBytes);

    [LoggerMessage(
        EventId = 5011, Level = LogLevel.Warning,
        Message = "The portable kernels are used, which are slower: {Complaint}")]
    private static partial void LogPortableKernel(ILogger logger, string complaint);

    [LoggerMessage(
        EventId = 5012, Level = LogLevel.Information,
        Message = "Weights are held in 8 bits with one scale per output; root mean square error relative to the exact weights: {Error:0.00000}")]
    private static partial void LogQuantised(ILogger logger, double error);
}
