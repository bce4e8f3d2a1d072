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

    public void Take(GangPlacement placement, RankRequest rank)
    {
        foreach (var (node, positions) in PlacesOf(placement))
        {
            node.Take(rank, positions);
        }
    }

    /// <summary>Each rank's node and positions; ranks on nodes that are not known any more are left out.</summary>
    public IEnumerable<(NodeLedger Node, int[] Positions)> PlacesOf(GangPlacement placement) =>
        from member in placement.Members
        where nodes.ContainsKey(member.Node)
        let node = nodes[member.Node]
        from rank in member.Ranks
        where rank.Devices.All(device => device < node.Node.Devices.Count)
        select (node, rank.Devices.Select(node.PositionOf).ToArray());
}
