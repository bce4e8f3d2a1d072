namespace Platform.Torch.Collectives;

/// <summary>A snapshot of what one rank does in one group, for progress reports and to attribute hangs.</summary>
/// <param name="Group">Name of the group.</param>
/// <param name="Members">World ranks of the group.</param>
/// <param name="Sequence">Number of the last collective entered; 0 before the first.</param>
/// <param name="Operation">The operation in progress or else the last one, such as "all-reduce #4711"; null before the first.</param>
/// <param name="InProgress">Whether that operation has been entered and not left.</param>
/// <param name="Since">When it was entered, or left if it is over; when the group was made before the first.</param>
/// <param name="WaitingFor">World ranks known not to have entered the operation in progress; empty when none is.</param>
public sealed record CollectiveStatus(
    string Group,
    IReadOnlyList<int> Members,
    long Sequence,
    string? Operation,
    bool InProgress,
    DateTimeOffset Since,
    IReadOnlyList<int> WaitingFor);
