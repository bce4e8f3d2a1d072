using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>What is free during a cycle: the snapshot's figures less what the cycle has given away. One owner, no sharing.</summary>
internal sealed class DeviceLedger
{
    private readonly Dictionary<string, NodeLedger> nodes;

    /// <summary>A ledger whose places are chosen by how full they make nodes, where no policy matters.</summary>
    public DeviceLedger(ClusterSnapshot cluster)
        : this(cluster, _ => new ForesightPolicy(WorkloadMix.Unknown))
    {
    }

    public DeviceLedger(ClusterSnapshot cluster, Func<IReadOnlyList<NodeLedger>, PlacementPolicy> policy)
    {
        Nodes = [.. cluster.Nodes.Select((node, index) => new NodeLedger(node, index))];
        nodes = Nodes.ToDictionary(node => node.Node.Name);
        Policy = policy(Nodes);
    }

    public IReadOnlyList<NodeLedger> Nodes { get; }

    /// <summary>Chooses among places that are equally near.</summary>
    public PlacementPolicy Policy { get; }

    public void Take(GangPlacement placement, GangShape shape) => ForEachRank(placement, (node, positions) => node.Take(shape.Rank, positions));

    public void Release(GangPlacement placement, GangShape shape) => ForEachRank(placement, (node, positions) => node.Release(shape.Rank, positions));

    private void ForEachRank(GangPlacement placement, Action<NodeLedger, int[]> act)
    {
        foreach (var member in placement.Members)
        {
            var node = nodes[member.Node];
            foreach (var rank in member.Ranks)
            {
                act(node, [.. rank.Devices.Select(node.PositionOf)]);
            }
        }
    }
}
