using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Capacity;

/// <summary>A gang that holds devices, and what it would need elsewhere.</summary>
/// <param name="Gang">The gang.</param>
/// <param name="Shape">Its shape at the width at which it runs.</param>
public sealed record HeldGang(RunningGang Gang, GangShape Shape);

/// <summary>Everything that capacity is decided from.</summary>
public sealed record CapacityInput
{
    /// <summary>Nodes that have joined, and what of them is free.</summary>
    public required ClusterSnapshot Cluster { get; init; }

    /// <summary>Gangs that only lack devices, in the order in which they would start: quotas and waits would let each of them.</summary>
    public required IReadOnlyList<PendingGang> Waiting { get; init; }

    /// <summary>Gangs that hold devices.</summary>
    public required IReadOnlyList<HeldGang> Held { get; init; }

    /// <summary>Whether a gang is known and not over.</summary>
    public required Func<string, bool> IsLive { get; init; }
}
