using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Control;

/// <summary>
/// Waiting gangs that a cycle need not look at. Of gangs of one queue that need the same, a later one starts only after those
/// before it: nothing that a cycle weighs tells them apart. So the first few of each class are decided on, and the rest waits
/// for what they wait for. Should all of the few start, the next cycle takes the next few.
/// </summary>
internal sealed class WaitingClasses
{
    /// <summary>Gangs of a class that one cycle may start.</summary>
    public const int Window = 8;

    private static readonly IReadOnlyList<int> NoWidths = [];
    private readonly Dictionary<Key, Line> lines = [];

    /// <summary>Names of the gangs that are left out.</summary>
    public HashSet<string> LeftOut { get; } = new(StringComparer.Ordinal);

    /// <summary>Sorts gangs that wait now, for nothing but devices.</summary>
    public WaitingClasses(IEnumerable<GangState> waiting)
    {
        foreach (var gang in waiting)
        {
            var shape = gang.Shape.NarrowerData.Count == 0 && !ReferenceEquals(gang.Shape.NarrowerData, NoWidths)
                ? gang.Shape with { NarrowerData = NoWidths }
                : gang.Shape;
            var key = new Key(gang.Queue, gang.Kind, gang.Deployment, shape, gang.ExpectedRuntime);
            if (!lines.TryGetValue(key, out var line))
            {
                lines[key] = line = new Line();
            }

            if (line.Offer(gang) is { } later)
            {
                LeftOut.Add(later.Gang);
            }
        }
    }

    /// <summary>Why those that were left out wait: for what the last of their class that was decided on waits for.</summary>
    /// <param name="decided">Gangs that stay pending.</param>
    /// <param name="again">Whether all that were decided on of some class have started, so that the next may.</param>
    public IEnumerable<GangDeferral> Explain(IReadOnlyDictionary<string, GangDeferral> decided, out bool again)
    {
        var deferrals = new List<GangDeferral>(LeftOut.Count);
        again = false;
        int position = decided.Count;
        foreach (var line in lines.Values.Where(line => line.Later.Count > 0))
        {
            PendingReason reason;
            if (decided.TryGetValue(line.First[^1].Gang, out var last))
            {
                // What is set aside for one gang is not for those behind it.
                reason = last.Reason.Code != PendingCode.Reservation ? last.Reason : new PendingReason(
                    PendingCode.Priority, $"{last.Gang}, which needs the same and goes before it, waits too.")
                { Causes = [last.Reason], Unblocks = last.Reason.Unblocks };
            }
            else
            {
                again = true;
                reason = new PendingReason(PendingCode.Priority, $"{line.First[^1].Gang}, which needs the same and goes before it, has only just been given devices.");
            }

            foreach (var gang in line.Later)
            {
                deferrals.Add(new GangDeferral(gang.Gang, reason, ++position));
            }
        }

        return deferrals;
    }

    private static bool Precedes(GangState gang, GangState other)
    {
        int order = other.Priority.CompareTo(gang.Priority);
        order = order != 0 ? order : gang.SubmittedAt.CompareTo(other.SubmittedAt);
        return (order != 0 ? order : string.CompareOrdinal(gang.Gang, other.Gang)) < 0;
    }

    private readonly record struct Key(string Queue, WorkloadKind Kind, string? Deployment, GangShape Shape, TimeSpan? Runtime);

    private sealed class Line
    {
        public List<GangState> First { get; } = new(Window);

        public List<GangState> Later { get; } = [];

        /// <summary>Takes a gang in; returns the one that comes too late for it.</summary>
        public GangState? Offer(GangState gang)
        {
            if (First.Count == Window && !Precedes(gang, First[^1]))
            {
                Later.Add(gang);
                return gang;
            }

            int at = First.FindIndex(known => Precedes(gang, known));
            First.Insert(at < 0 ? First.Count : at, gang);
            if (First.Count <= Window)
            {
                return null;
            }

            var late = First[^1];
            First.RemoveAt(Window);
            Later.Add(late);
            return late;
        }
    }
}
