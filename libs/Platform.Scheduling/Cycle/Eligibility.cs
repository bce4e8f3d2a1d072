namespace Platform.Scheduling.Cycle;

/// <summary>Which nodes a gang may use at all, by what it said of spot nodes, node groups and clusters of its own.</summary>
internal static class Eligibility
{
    /// <summary>The nodes that a shape may use, and a sentence on those that it may not; empty when it may use all.</summary>
    public static (ClusterSnapshot Cluster, string Note) Of(ClusterSnapshot cluster, GangShape shape)
    {
        var rank = shape.Rank;
        if (cluster.Nodes.All(node => node.Admits(rank)))
        {
            return (cluster, "");
        }

        var others = cluster.Nodes.Where(node => !node.Admits(rank)).ToList();
        int clusters = others.Count(node => node.Cluster != rank.Cluster);
        int groups = others.Count(node => node.Cluster == rank.Cluster && rank.NodeGroup.Length > 0 && node.Group != rank.NodeGroup);
        int spot = others.Count - clusters - groups;
        List<string> parts = [];
        if (clusters > 0)
        {
            parts.Add(rank.Cluster.Length > 0 ? $"{Nodes(clusters)} outside the job's own cluster" : $"{Nodes(clusters)} of other jobs' own clusters");
        }

        if (groups > 0)
        {
            parts.Add($"{Nodes(groups)} outside node group {rank.NodeGroup}");
        }

        if (spot > 0)
        {
            parts.Add($"{spot} spot node{(spot == 1 ? "" : "s")}, which resources.spot does not allow");
        }

        return (new ClusterSnapshot([.. cluster.Nodes.Where(node => node.Admits(rank))]), $" Left out: {string.Join("; ", parts)}.");
    }

    private static string Nodes(int count) => count == 1 ? "1 node" : $"{count} nodes";
}
