using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Platform.Benchmarks.Scheduling.Service;

/// <summary>What the simulated nodes see of gangs, by the name of the job: when it was first told to prepare, and when it first ran.</summary>
internal sealed class GangBoard
{
    private readonly ConcurrentDictionary<string, long> prepared = new();
    private readonly ConcurrentDictionary<string, long> started = new();
    private readonly ConcurrentDictionary<string, bool> stopped = new();
    private readonly ConcurrentDictionary<string, bool> ended = new();
    private readonly ConcurrentDictionary<string, string[]> commands = new();
    private int attempts;

    /// <summary>Jobs that a node was told to prepare for.</summary>
    public int Prepared => prepared.Count;

    /// <summary>Jobs that ran at least once.</summary>
    public int Started => started.Count;

    /// <summary>Jobs whose rank 0 was told to stop.</summary>
    public int Stopped => stopped.Count;

    /// <summary>Jobs whose rank 0 ended well.</summary>
    public int Ended => ended.Count;

    /// <summary>Attempts whose rank 0 was told to start.</summary>
    public int Attempts => attempts;

    /// <summary>Timestamp of the latest first preparation.</summary>
    public long LastPrepared { get; private set; }

    public void Prepare(string job)
    {
        long now = Stopwatch.GetTimestamp();
        if (prepared.TryAdd(job, now))
            LastPrepared = now;
    }

    /// <summary>The command of a gang, read once.</summary>
    public string[] CommandOf(string gang, string workload) => commands.GetOrAdd(
        gang, _ => [.. (JsonNode.Parse(workload)?["command"] as JsonArray ?? []).Select(part => part?.GetValue<string>() ?? "")]);

    public void End(string job) => ended[job] = true;

    public void Stop(string job) => stopped[job] = true;

    public void Start(string job)
    {
        Interlocked.Increment(ref attempts);
        started.TryAdd(job, Stopwatch.GetTimestamp());
    }

    /// <summary>Timestamp at which the job first ran; null before.</summary>
    public long? StartOf(string job) => started.TryGetValue(job, out long at) ? at : null;
}
