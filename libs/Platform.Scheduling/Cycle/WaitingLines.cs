namespace Platform.Scheduling.Cycle;

/// <summary>A gang that waits.</summary>
internal sealed record WaitingEntry(PendingGang Gang, ShapeClass Class, WaitingLine Line);

/// <summary>Gangs that wait in one queue, in the order in which they go: priority, then submission, then name.</summary>
internal sealed class WaitingLine(string queue) : IComparer<WaitingEntry>
{
    private readonly List<WaitingEntry> entries = [];

    public string Queue => queue;

    public IReadOnlyList<WaitingEntry> Entries => entries;

    /// <summary>What the queue may still take of a kind of device, at a state of the queues; null when that is not known.</summary>
    public (long State, string Kind, long Milli)? Room { get; set; }

    public void Add(WaitingEntry entry)
    {
        int at = entries.BinarySearch(entry, this);
        entries.Insert(at < 0 ? ~at : at, entry);
    }

    public void Remove(WaitingEntry entry)
    {
        int at = entries.BinarySearch(entry, this);
        if (at < 0 || !ReferenceEquals(entries[at], entry))
        {
            throw new InvalidOperationException($"{entry.Gang.Gang} does not wait in {queue}.");
        }

        entries.RemoveAt(at);
    }

    public int Compare(WaitingEntry? x, WaitingEntry? y)
    {
        if (x is null || y is null)
        {
            return x is null ? y is null ? 0 : -1 : 1;
        }

        int order = y.Gang.Priority.CompareTo(x.Gang.Priority);
        order = order != 0 ? order : x.Gang.SubmittedAt.CompareTo(y.Gang.SubmittedAt);
        return order != 0 ? order : string.CompareOrdinal(x.Gang.Gang, y.Gang.Gang);
    }
}
