using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>What is free during a cycle: the snapshot's figures less what the cycle has given away. One owner, no sharing.</summary>
internal sealed class DeviceLedger
{
    private readonly Dictionary<string, NodeLedger> nodes;

    public DeviceLedger(ClusterSnapshot cluster)
    {
        Nodes = [.. cluster.Nodes.Select((node, index) => new NodeLedger(node, index))];
        nodes = Nodes.ToDictionary(node => node.Node.Name);
    }

    public IReadOnlyList<NodeLedger> Nodes { get; }

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
