using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Control;

/// <summary>
/// Rows of the cycle's input. A row is a new object only when what it says has changed, by which the core knows what it has
/// to look at again.
/// </summary>
public sealed partial class ControlPlane
{
    /// <summary>The mix of what is asked for is taken anew when it has grown by one part in so many.</summary>
    private const double MixParts = 16;

    private readonly SchedulingCore core = new();
    private readonly Dictionary<string, (GangState Of, bool Surplus, bool Kept, PendingGang Row)> waitingRows = [];
    private readonly Dictionary<string, (GangState Of, bool Surplus, bool CanResize, bool Kept, RunningGang Row)> runningRows = [];
    private readonly Dictionary<string, NodeSnapshot> nodeRows = [];
    private (WorkloadMix Mix, double Total, int Kinds) knownMix = (WorkloadMix.Unknown, 0, 0);

    private PendingGang WaitingRow(GangState gang, bool surplus, DateTimeOffset now)
    {
        bool kept = gang.Nomination?.Until > now;
        if (!waitingRows.TryGetValue(gang.Gang, out var known) || !ReferenceEquals(known.Of, gang) || known.Surplus != surplus || known.Kept != kept
            || (options.PredictRuntimes && known.Row.ExpectedRuntime != forecast.RuntimeOf(gang)))
        {
            waitingRows[gang.Gang] = known = (gang, surplus, kept, Waiting(gang, surplus, now));
        }

        return known.Row;
    }

    private RunningGang RunningRow(GangState gang, bool surplus, bool canResize, DateTimeOffset now)
    {
        bool kept = gang.Nomination?.Until > now;
        if (!runningRows.TryGetValue(gang.Gang, out var known) || !ReferenceEquals(known.Of, gang) || known.Surplus != surplus || known.CanResize != canResize || known.Kept != kept
            || (options.PredictRuntimes && known.Row.ExpectedEnd != forecast.EndOf(gang)))
        {
            runningRows[gang.Gang] = known = (gang, surplus, canResize, kept, Running(gang, surplus, canResize, now));
        }

        return known.Row;
    }

    private NodeSnapshot NodeRow(NodeSnapshot node)
    {
        if (nodeRows.TryGetValue(node.Name, out var known) && known with { Devices = [] } == node with { Devices = [] } && known.Devices.SequenceEqual(node.Devices))
        {
            return known;
        }

        return nodeRows[node.Name] = node;
    }

    /// <summary>What is usually asked for. It changes in steps, so that costs that follow from it can be kept in between.</summary>
    private WorkloadMix Mix()
    {
        double total = asked.Values.Sum();
        if (asked.Count != knownMix.Kinds || total > knownMix.Total * (1 + (1 / MixParts)))
        {
            knownMix = (WorkloadMix.OfCounts(asked.Select(entry => (entry.Key, entry.Value))), total, asked.Count);
        }

        return knownMix.Mix;
    }

    /// <summary>Forgets rows of gangs and nodes that are gone, once they are the greater part.</summary>
    private void ForgetRows()
    {
        if (waitingRows.Count + runningRows.Count + nodeRows.Count <= 64 + (3 * (gangs.Count + nodes.Count)))
        {
            return;
        }

        foreach (string gone in waitingRows.Keys.Concat(runningRows.Keys).Where(gang => !gangs.ContainsKey(gang)).ToList())
        {
            waitingRows.Remove(gone);
            runningRows.Remove(gone);
        }

        foreach (string gone in nodeRows.Keys.Where(node => !nodes.ContainsKey(node)).ToList())
        {
            nodeRows.Remove(gone);
        }
    }
}
