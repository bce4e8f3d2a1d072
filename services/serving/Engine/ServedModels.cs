using Microsoft.Extensions.Diagnostics.HealthChecks;
using Platform.Hosting.Errors;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Sharding;

namespace Platform.Serving.Engine;

/// <summary>A model that was loaded, for an engine to take over.</summary>
/// <param name="Settings">What is served.</param>
/// <param name="Model">The model.</param>
/// <param name="Sleep">How it sleeps; null when it never does.</param>
internal sealed record LoadedModel(ReplicaSettings Settings, ReplicaModel Model, SleepSettings? Sleep);

/// <summary>The models of one process, by the names requests use. Owns their replicas.</summary>
internal sealed class ServedModels : IHostedLifecycleService, IHealthCheck, IDisposable
{
    private readonly Dictionary<string, Replica> _byName;

    /// <summary>Models that are served.</summary>
    /// <param name="replicas">At least one; requests that name none are for the first.</param>
    public ServedModels(IReadOnlyList<Replica> replicas)
    {
        Replicas = replicas;
        _byName = replicas.ToDictionary(replica => replica.Settings.Model);
    }

    public IReadOnlyList<Replica> Replicas { get; }

    /// <summary>The model of requests that name none.</summary>
    public Replica First => Replicas[0];

    /// <summary>
    /// Loads models one after the other. Within a memory budget those for which there is no room left sleep from the start.
    /// </summary>
    /// <param name="settings">What is served.</param>
    /// <param name="memoryBytes">Memory that all of them share; null for as much as they take.</param>
    /// <param name="peers">Ranks that hold the other shares of the only model; such a model never sleeps. Null for none.</param>
    /// <exception cref="ReplicaSettingsException">A model is larger than the memory.</exception>
    public static IReadOnlyList<LoadedModel> Load(IReadOnlyList<ReplicaSettings> settings, long? memoryBytes, TensorPeers? peers)
    {
        var loaded = new List<LoadedModel>();
        var residency = memoryBytes is { } most ? new ModelResidency(most) : null;
        var awakeBytes = 0L;
        foreach (var one in settings)
        {
            var before = NativeBuffer.LiveBytes;
            var model = ReplicaModel.Load(one, peers);
            var bytes = NativeBuffer.LiveBytes - before;
            if (residency?.Holds(bytes) == false)
            {
                model.Executor.Dispose();
                throw new ReplicaSettingsException([new(
                    "--memory", $"Found {memoryBytes} bytes; '{one.Model}' alone takes {bytes} with its key/value cache and buffers.")]);
            }

            if (peers is not null || (one.SleepAfter is null && residency is null))
            {
                loaded.Add(new(one, model, null));
                continue;
            }

            var sleeps = awakeBytes + bytes > (memoryBytes ?? long.MaxValue);
            awakeBytes += sleeps ? 0 : bytes;
            if (sleeps)
                model.Executor.Dispose();
            loaded.Add(new(one, model, new SleepSettings(() => ReplicaModel.Reload(one, model.Limits), one.SleepAfter, residency, bytes, sleeps)));
        }

        return loaded;
    }

    /// <summary>The model that a request names.</summary>
    /// <exception cref="NotFoundException">There is none of that name.</exception>
    public Replica Find(string name) => name.Length == 0 ? First
        : _byName.TryGetValue(name, out var replica) ? replica
        : throw new NotFoundException($"model '{name}' on this replica, which serves {string.Join(", ", _byName.Keys.Select(known => $"'{known}'"))}");

    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken) =>
        First.CheckHealthAsync(context, cancellationToken);

    public Task StoppingAsync(CancellationToken cancellationToken) =>
        Task.WhenAll(Replicas.Select(replica => replica.StoppingAsync(cancellationToken)));

    public Task StopAsync(CancellationToken cancellationToken) =>
        Task.WhenAll(Replicas.Select(replica => replica.StopAsync(cancellationToken)));

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public void Dispose()
    {
        foreach (var replica in Replicas)
            replica.Dispose();
    }
}
