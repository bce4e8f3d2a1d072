using Platform.Core.Gangs;

namespace Platform.Scheduling.Cycle;

/// <summary>The ranks of a gang that a node gets.</summary>
/// <param name="Node">The node.</param>
/// <param name="Ranks">Ranks with their devices, ascending.</param>
public sealed record MemberPlacement(string Node, IReadOnlyList<RankPlacement> Ranks);

/// <summary>A whole gang placed.</summary>
/// <param name="Gang">The gang.</param>
/// <param name="Members">One entry for each node, in the order of their lowest ranks; rank 0 is in the first.</param>
public sealed record GangPlacement(string Gang, IReadOnlyList<MemberPlacement> Members)
{
    /// <summary>Whether its queue is beyond its own quota with it.</summary>
    public bool Borrows { get; init; }
}

/// <summary>A gang that stays pending.</summary>
/// <param name="Gang">The gang.</param>
/// <param name="Reason">Why.</param>
/// <param name="Position">Its place in the order of the cycle, from 1.</param>
public sealed record GangDeferral(string Gang, PendingReason Reason, int Position)
{
    /// <summary>When devices are reserved for it; null when that cannot be told.</summary>
    public DateTimeOffset? EstimatedStart { get; init; }
}

/// <summary>Gangs that are to make room for another. What they leave is for that one only.</summary>
/// <param name="Gang">The gang that gets it.</param>
/// <param name="Placement">Where it will be.</param>
/// <param name="Victims">Gangs that leave, whole.</param>
public sealed record GangPreemption(string Gang, GangPlacement Placement, IReadOnlyList<string> Victims);

/// <summary>An elastic gang that stops by checkpoint to go on at another data-parallel width.</summary>
/// <param name="Gang">The gang.</param>
/// <param name="Placement">Where it will be; kept for it until it is there.</param>
/// <param name="From">Its width so far.</param>
/// <param name="To">Its width from then on.</param>
public sealed record GangResize(string Gang, GangPlacement Placement, int From, int To);

/// <summary>Elastic gangs that give up width for another. What they leave is for that one only.</summary>
/// <param name="Gang">The gang that gets it.</param>
/// <param name="Placement">Where it will be.</param>
/// <param name="Resized">Gangs that go on narrower.</param>
public sealed record GangNarrowing(string Gang, GangPlacement Placement, IReadOnlyList<GangResize> Resized);

/// <summary>What one cycle decided.</summary>
/// <param name="Placed">Gangs to start, in the order in which they were placed.</param>
/// <param name="Deferred">Gangs that wait, in the order of the cycle.</param>
public sealed record CyclePlan(IReadOnlyList<GangPlacement> Placed, IReadOnlyList<GangDeferral> Deferred)
{
    /// <summary>Gangs that are asked to make room.</summary>
    public IReadOnlyList<GangPreemption> Preempted { get; init; } = [];

    /// <summary>Elastic gangs that give up data-parallel width for another.</summary>
    public IReadOnlyList<GangNarrowing> Narrowed { get; init; } = [];

    /// <summary>Elastic gangs that take idle devices.</summary>
    public IReadOnlyList<GangResize> Widened { get; init; } = [];
}
