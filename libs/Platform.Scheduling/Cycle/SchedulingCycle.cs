namespace Platform.Scheduling.Cycle;

/// <summary>
/// One scheduling cycle: a function of a snapshot. The queue with the smallest weighted dominant share goes next, with its
/// gang of the highest priority, then of the earliest submission; each gang is placed whole or not at all. A gang that waits
/// for devices the cluster has gets a reservation, or keeps later ones of its device kind waiting, so that a stream of small
/// gangs cannot starve a large one; a gang that could not run even on the empty nodes in service holds nobody up.
/// </summary>
/// <remarks><see cref="SchedulingCore"/> decides the same and remembers what it looked up for the next time.</remarks>
public static class SchedulingCycle
{
    /// <summary>Decides for gangs of queues without quotas on nodes where nothing ends and nothing makes room.</summary>
    public static CyclePlan Decide(ClusterSnapshot cluster, IReadOnlyList<PendingGang> waiting, DateTimeOffset now) =>
        Decide(new CycleInput { Cluster = cluster, Waiting = waiting }, now);

    /// <summary>Decides which of the waiting gangs start now, who makes room for them, and why each other one waits.</summary>
    public static CyclePlan Decide(CycleInput input, DateTimeOffset now) => new SchedulingCore().Decide(input, now);
}
