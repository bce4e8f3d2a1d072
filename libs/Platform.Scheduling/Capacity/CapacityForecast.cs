using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Capacity;

/// <summary>What the providers could give, and what they are doing about a gang.</summary>
public static class CapacityForecast
{
    /// <summary>
    /// The largest cluster that there could be for a gang: nodes that joined by themselves, and of each group as many as it may
    /// have. A gang that asks for a cluster of its own gets only nodes that can be asked for.
    /// </summary>
    /// <param name="cluster">Nodes that have joined.</param>
    /// <param name="options">Groups.</param>
    /// <param name="ownCluster">The cluster of the gang's own; null for the shared one.</param>
    public static ClusterSnapshot Largest(ClusterSnapshot cluster, CapacityOptions options, string? ownCluster)
    {
        if (options.Groups.Count == 0)
        {
            return cluster;
        }

        HashSet<string> elastic = [.. options.Groups.Where(group => group.IsElastic).Select(group => group.Name)];
        var nodes = cluster.Nodes.Where(node => !elastic.Contains(node.Group)).ToList();
        foreach (var group in options.Groups)
        {
            int present = group.IsElastic ? 0 : nodes.Count(node => node.Group == group.Name);
            string owner = group.IsElastic ? ownCluster ?? "" : "";
            nodes.AddRange(Enumerable.Range(1, Math.Max(0, group.MaxNodes - present)).Select(n => group.Node($"~{group.Name}-{n}", owner)));
        }

        return new ClusterSnapshot(nodes);
    }

    /// <summary>What providers do about a waiting gang, or why they do nothing; empty when no group could have nodes for it.</summary>
    public static IReadOnlyList<PendingReason> Explain(PendingGang gang, CapacityState state, CapacityOptions options, DateTimeOffset now)
    {
        var reasons = new List<PendingReason>();
        foreach (var asked in state.Nodes.Where(node => node.Phase == ManagedNodePhase.Asked && node.For == gang.Gang).GroupBy(node => node.Group))
        {
            string provider = options.Groups.FirstOrDefault(group => group.Name == asked.Key)?.Provider ?? "unknown";
            string details = string.Join(" ", asked.Select(node => node.Detail).Where(detail => detail.Length > 0).Distinct());
            reasons.Add(new PendingReason(
                PendingCode.Provider,
                $"Waiting for {Nodes(asked.Count())} of group {asked.Key} from provider {provider}, asked {Math.Floor((now - asked.Min(node => node.AskedAt)).TotalSeconds):0} s ago.{(details.Length > 0 ? " " + details : "")}")
            {
                Unblocks = [$"{Nodes(asked.Count())} of group {asked.Key} join{(asked.Count() == 1 ? "s" : "")}"],
            });
        }

        if (reasons.Count > 0)
        {
            return reasons;
        }

        var rank = gang.Shape.Rank;
        foreach (var group in options.Groups.Where(group => group.IsElastic && group.DeviceKind == gang.Shape.DeviceKind && group.Node("", gang.Shape.Cluster ?? "").Admits(rank)))
        {
            int own = state.Nodes.Count(node => node.Group == group.Name);
            if (state.Backoffs.GetValueOrDefault(group.Name) is { } backoff && backoff.NotBefore > now)
            {
                reasons.Add(new PendingReason(
                    PendingCode.Provider,
                    $"Provider {group.Provider} gave no more nodes of group {group.Name} ({backoff.Reason.TrimEnd('.')}); it is asked again in {Math.Ceiling((backoff.NotBefore - now).TotalSeconds):0} s."));
            }
            else if (own >= group.MaxNodes)
            {
                reasons.Add(new PendingReason(PendingCode.Provider, $"Group {group.Name} has its {Nodes(group.MaxNodes)} already."));
            }
            else
            {
                reasons.Add(new PendingReason(
                    PendingCode.Provider, $"Group {group.Name} may have {group.MaxNodes - own} more, with which the whole gang does not fit either while others hold theirs."));
            }
        }

        return reasons;
    }

    private static string Nodes(int count) => count == 1 ? "1 node" : $"{count} nodes";
}
