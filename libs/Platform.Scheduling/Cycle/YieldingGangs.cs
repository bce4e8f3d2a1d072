namespace Platform.Scheduling.Cycle;

/// <summary>Whether anybody at all could make room for a gang, found out once for all that ask in a cycle.</summary>
internal sealed class YieldingGangs
{
    private readonly Dictionary<(string Queue, string Kind), int> lowest = [];
    private readonly Dictionary<string, HashSet<string>> borrowers = [];

    public YieldingGangs(IEnumerable<RunningGang> running, CycleOptions options, DateTimeOffset now)
    {
        foreach (var gang in running)
        {
            if (!gang.MayYield || !(now - gang.RunningSince >= options.MinRuntime))
            {
                continue;
            }

            var key = (gang.Queue, gang.Rank.DeviceKind);
            lowest[key] = lowest.TryGetValue(key, out int known) ? Math.Min(known, gang.Standing) : gang.Standing;
            if (gang.Borrows)
            {
                if (!borrowers.TryGetValue(gang.Rank.DeviceKind, out var queues))
                {
                    borrowers[gang.Rank.DeviceKind] = queues = [];
                }

                queues.Add(gang.Queue);
            }
        }
    }

    /// <summary>Whether a gang has a lower standing in the same queue, or is on borrowed quota in another.</summary>
    public bool MayYieldTo(PendingGang gang) =>
        (lowest.TryGetValue((gang.Queue, gang.Shape.DeviceKind), out int standing) && standing < gang.Standing)
        || (borrowers.TryGetValue(gang.Shape.DeviceKind, out var queues) && (queues.Count > 1 || !queues.Contains(gang.Queue)));
}
