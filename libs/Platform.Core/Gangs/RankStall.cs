namespace Platform.Core.Gangs;

/// <summary>What one group of a rank was doing when its gang stood still.</summary>
/// <param name="Group">Group; the same name on all of its ranks.</param>
/// <param name="Members">World ranks of the group; empty when the rank did not say.</param>
/// <param name="Sequence">Number of the collective the rank entered last.</param>
/// <param name="Operation">That collective, or a message, such as <c>all-reduce #4711</c>.</param>
/// <param name="SecondsInside">How long the rank had been inside it; 0 when it was not.</param>
/// <param name="WaitingFor">World ranks that the rank knew not to have come to it.</param>
public sealed record GroupStall(
    string Group, IReadOnlyList<int> Members, long Sequence, string Operation, double SecondsInside, IReadOnlyList<int> WaitingFor);

/// <summary>What one rank was doing when its gang stood still, as its node's agent last heard it.</summary>
/// <param name="Rank">Rank.</param>
/// <param name="Phase">What it did: training, saving, …</param>
/// <param name="SilentSeconds">Time since it last reported; a process that lives reports every half second.</param>
/// <param name="IsSilent">It has been silent for so long that its process does not run.</param>
/// <param name="Groups">Its groups.</param>
public sealed record RankStall(int Rank, string Phase, double SilentSeconds, bool IsSilent, IReadOnlyList<GroupStall> Groups);
