namespace Platform.Core.Gangs;

/// <summary>To a member's queue: reserve, check and answer with a <see cref="GangMemberChanged"/>.</summary>
/// <param name="Assignment">What is wanted.</param>
public sealed record PrepareGang(GangAssignment Assignment);

/// <summary>To a member's queue: every member is prepared, run the ranks.</summary>
/// <param name="Assignment">What is wanted.</param>
public sealed record StartGang(GangAssignment Assignment);

/// <summary>To a member's queue: stop the ranks and release the devices.</summary>
/// <param name="Assignment">What is wanted.</param>
public sealed record StopGang(GangAssignment Assignment);

/// <summary>From an agent: a member's state changed.</summary>
/// <param name="Report">The state now.</param>
public sealed record GangMemberChanged(GangMemberReport Report);

/// <summary>From an agent: how far the ranks are.</summary>
/// <param name="Report">Progress.</param>
public sealed record GangProgressed(GangProgressReport Report);
