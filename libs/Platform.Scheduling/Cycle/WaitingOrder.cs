using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// The order in which waiting gangs are looked at: of all queues that with the smallest share goes next. Shares change as
/// gangs are placed and not as they are put off, so the next queue is chosen anew only when its turn is over.
/// </summary>
internal sealed class WaitingOrder(IEnumerable<WaitingLine> lines, QueueLedger queues)
{
    private readonly List<Head> heads = [.. lines.Select((line, index) => new Head(line, index) { Share = queues.Share(line.Queue) })];
    private Head? current;
    private Head? second;

    /// <summary>What queues use has changed.</summary>
    public void SharesChanged()
    {
        foreach (var head in heads)
        {
            head.Share = queues.Share(head.Line.Queue);
        }

        current = null;
    }

    /// <summary>The gang that goes next; null when all have been looked at.</summary>
    public WaitingEntry? Next()
    {
        if (current is null || (second is not null && Head.Compare(current, second) > 0))
        {
            Choose();
        }

        if (current is null)
        {
            return null;
        }

        var entry = current.Entry;
        if (++current.At == current.Line.Entries.Count)
        {
            heads.Remove(current);
            current = null;
        }

        return entry;
    }

    private void Choose()
    {
        (current, second) = (null, null);
        foreach (var head in heads)
        {
            if (current is null || Head.Compare(head, current) < 0)
            {
                (current, second) = (head, current);
            }
            else if (second is null || Head.Compare(head, second) < 0)
            {
                second = head;
            }
        }
    }

    private sealed class Head(WaitingLine line, int index)
    {
        public WaitingLine Line => line;

        public int At { get; set; }

        public double Share { get; set; }

        public WaitingEntry Entry => line.Entries[At];

        public static int Compare(Head one, Head other)
        {
            int order = one.Share.CompareTo(other.Share);
            if (order == 0)
            {
                var (first, second) = (one.Entry.Gang, other.Entry.Gang);
                order = second.Priority.CompareTo(first.Priority);
                order = order != 0 ? order : first.SubmittedAt.CompareTo(second.SubmittedAt);
            }

            return order != 0 ? order : one.Index.CompareTo(other.Index);
        }

        private int Index => index;
    }
}
