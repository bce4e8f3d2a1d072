using System.Collections.Concurrent;
using Platform.Scheduling.Cycle;

namespace Platform.Scheduler.Adapters;

/// <summary>Which shapes the nodes that are known could ever hold: the same answer for every job of a shape, until a node changes.</summary>
internal sealed class FeasibilityChecks(ClusterSnapshot cluster)
{
    private const int Most = 10_000;
    private readonly ConcurrentDictionary<GangShape, PendingReason?> answers = new();

    /// <summary>Null when the cluster could hold the shape, else what is in the way.</summary>
    public PendingReason? Check(GangShape shape)
    {
        if (answers.TryGetValue(shape, out var known))
        {
            return known;
        }

        var answer = Feasibility.Check(cluster, shape);
        if (answers.Count < Most)
        {
            answers[shape] = answer;
        }

        return answer;
    }
}
