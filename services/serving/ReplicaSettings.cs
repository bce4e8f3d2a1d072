using Platform.Core.Deployments;
using Platform.Core.Gangs;

namespace Platform.Serving;

/// <summary>What one replica serves and with which means, whether an agent or a person started it.</summary>
/// <param name="Model">Name that requests use.</param>
/// <param name="ModelDirectory">Hugging Face directory, absolute.</param>
/// <param name="Engine">How the engine runs.</param>
/// <param name="MaxQueuedRequests">Requests that wait beyond those that run.</param>
/// <param name="ComputeThreads">Threads for compute.</param>
public sealed record ReplicaSettings(
    string Model, string ModelDirectory, EngineOptions Engine, int MaxQueuedRequests, int ComputeThreads)
{
    /// <summary>
    /// Longest iteration while streams are running, relative to the median of those without prompts: how far a long prompt may
    /// slow its neighbours down.
    /// </summary>
    public double PromptPacing { get; init; } = 4;

    /// <summary>Adapters served beside the model; their directories are absolute.</summary>
    public IReadOnlyList<AdapterSource> Adapters { get; init; } = [];

    /// <summary>Directory of the model that guesses, absolute; null when none does.</summary>
    public string? DraftDirectory { get; init; }

    /// <summary>Devices it occupies; shares count as fractions.</summary>
    public double Devices { get; init; } = 1;

    /// <summary>Other models that the same process serves.</summary>
    public IReadOnlyList<ReplicaSettings> Others { get; init; } = [];

    /// <summary>Memory that all models of the process share, the ones used longest ago asleep; null for as much as they take.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>How long the model has no request before it gives its memory back; null for never.</summary>
    public TimeSpan? SleepAfter { get; init; }
}
