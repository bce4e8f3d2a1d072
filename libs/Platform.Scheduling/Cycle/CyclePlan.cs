using Platform.Core.Gangs;

namespace Platform.Scheduling.Cycle;

/// <summary>The ranks of a gang that a node gets.</summary>
/// <param name="Node">The node.</param>
/// <param name="Ranks">Ranks with their devices, ascending.</param>
public sealed record MemberPlacement(string Node, IReadOnlyList<RankPlacement> Ranks);

/// <summary>A whole gang placed.</summary>
/// <param name="Gang">The gang.</param>
/// <param name="Members">One entry for each node, in the order of their lowest ranks; rank 0 is in the first.</param>
public sealed record GangPlacement(string Gang, IReadOnlyList<MemberPlacement> Members);

/// <summary>A gang that stays pending.</summary>
/// <param name="Gang">The gang.</param>
/// <param name="Reason">Why.</param>
/// <param name="Position">Its place in the order of the cycle, from 1.</param>
public sealed record GangDeferral(string Gang, PendingReason Reason, int Position);

/// <summary>What one cycle decided.</summary>
/// <param name="Placed">Gangs to start, in the order in which they were placed.</param>
/// <param name="Deferred">Gangs that wait, in the order of the cycle.</param>
public sealed record CyclePlan(IReadOnlyList<GangPlacement> Placed, IReadOnlyList<GangDeferral> Deferred);
