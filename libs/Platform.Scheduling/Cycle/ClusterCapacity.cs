namespace Platform.Scheduling.Cycle;

/// <summary>What the cluster holds when nothing runs on it. Answers stay until a node is changed, comes or goes.</summary>
internal sealed class ClusterCapacity(ClusterSnapshot cluster)
{
    private readonly NodeSnapshot[] nodes = [.. cluster.Nodes];
    private readonly Dictionary<GangShape, bool> inService = new(GangShapeComparer.Instance);
    private readonly Dictionary<GangShape, bool> inAll = new(GangShapeComparer.Instance);
    private readonly Dictionary<GangShape, (ClusterSnapshot Cluster, string Note)> eligible = new(GangShapeComparer.Instance);
    private DeviceLedger? freed;
    private DeviceLedger? emptied;

    /// <summary>Whether the nodes in service, empty, hold a gang of the shape.</summary>
    public bool InService(GangShape shape) => Holds(inService, shape, freed ??= new DeviceLedger(new ClusterSnapshot(nodes).Freed()));

    /// <summary>Whether all known nodes, empty and in service, hold a gang of the shape.</summary>
    public bool InAll(GangShape shape) => Holds(inAll, shape, emptied ??= new DeviceLedger(new ClusterSnapshot(nodes).Emptied()));

    /// <summary>The nodes that the shape may use at all, whose figures of what is free do not count here.</summary>
    public (ClusterSnapshot Cluster, string Note) EligibleFor(GangShape shape)
    {
        if (!eligible.TryGetValue(shape, out var known))
        {
            eligible[shape] = known = Eligibility.Of(new ClusterSnapshot([.. nodes]), shape);
        }

        return known;
    }

    /// <summary>A node is not what it was.</summary>
    public void Change(int index, NodeSnapshot node)
    {
        nodes[index] = node;
        inService.Clear();
        inAll.Clear();
        eligible.Clear();
        freed?.Nodes[index].Reset(node.Freed());
        emptied?.Nodes[index].Reset(node.Emptied());
    }

    private static bool Holds(Dictionary<GangShape, bool> known, GangShape shape, DeviceLedger ledger)
    {
        if (!known.TryGetValue(shape, out bool holds))
        {
            holds = GangPlacer.TryPlace(new PendingGang { Gang = "gang", Shape = shape, SubmittedAt = DateTimeOffset.UnixEpoch }, ledger) is not null;
            known[shape] = holds;
        }

        return holds;
    }
}
