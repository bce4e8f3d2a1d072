namespace Platform.Scheduling.Cycle;

/// <summary>What is free during a cycle: the snapshot's figures less what the cycle has given away. One owner, no sharing.</summary>
internal sealed class DeviceLedger
{
    private readonly Dictionary<string, NodeLedger> nodes;

    public DeviceLedger(ClusterSnapshot cluster)
    {
        Nodes = [.. cluster.Nodes.Select(node => new NodeLedger(node))];
        nodes = Nodes.ToDictionary(node => node.Node.Name);
    }

    public IReadOnlyList<NodeLedger> Nodes { get; }

    public void Take(GangPlacement placement, GangShape shape)
    {
        foreach (var member in placement.Members)
        {
            var node = nodes[member.Node];
            foreach (var rank in member.Ranks)
            {
                foreach (int device in rank.Devices)
                {
                    node.Take(device, rank.DeviceMilli);
                }

                node.FreeMemoryBytes -= shape.MemoryBytes ?? 0;
            }
        }
    }
}

/// <summary>One node's part of the ledger.</summary>
internal sealed class NodeLedger
{
    private readonly Dictionary<int, int> freeMilli;

    public NodeLedger(NodeSnapshot node)
    {
        Node = node;
        FreeMemoryBytes = node.FreeMemoryBytes;
        freeMilli = node.Devices.ToDictionary(device => device.Index, device => device.FreeMilli);
    }

    public NodeSnapshot Node { get; }

    public long FreeMemoryBytes { get; set; }

    public int FreeMilli(int device) => freeMilli[device];

    public void Take(int device, int milli)
    {
        if (milli > freeMilli[device])
        {
            throw new InvalidOperationException(
                $"Expected at least {milli}‰ free on device {device} of {Node.Name}, found {freeMilli[device]}‰.");
        }

        freeMilli[device] -= milli;
    }

    /// <summary>Device lists of as many ranks of the shape as fit now, at most <paramref name="limit"/>, tightest devices first.</summary>
    public IReadOnlyList<IReadOnlyList<int>> Slots(GangShape shape, int limit)
    {
        if (!Node.Schedulable)
        {
            return [];
        }

        if (shape.MemoryBytes is > 0)
        {
            limit = (int)Math.Min(limit, FreeMemoryBytes / shape.MemoryBytes.Value);
        }

        // A whole share of a CPU device is as good beside another of the same gang as alone, so several ranks may share one
        // device; two ranks of one collective on one GPU are not supported by NCCL, so there each gets another device.
        var eligible = Node.Devices
            .Where(device => device.Kind == shape.DeviceKind && device.Healthy && freeMilli[device.Index] >= shape.DeviceMilli
                && (shape.DeviceMemoryBytes is null || device.MemoryBytes * (double)shape.DeviceMilli / 1000 >= shape.DeviceMemoryBytes))
            .OrderBy(device => freeMilli[device.Index]).ThenBy(device => device.Index)
            .SelectMany(device => Enumerable.Repeat(device.Index, SharesOn(device, shape)));
        var slots = new List<IReadOnlyList<int>>();
        if (shape.DevicesPerRank == 1)
        {
            slots.AddRange(eligible.Take(Math.Max(0, limit)).Select(device => (IReadOnlyList<int>)[device]));
            return slots;
        }

        int[] distinct = [.. eligible.Distinct()];
        for (int at = 0; at + shape.DevicesPerRank <= distinct.Length && slots.Count < limit; at += shape.DevicesPerRank)
        {
            slots.Add(distinct[at..(at + shape.DevicesPerRank)]);
        }

        return slots;
    }

    private int SharesOn(DeviceSnapshot device, GangShape shape) =>
        device.Kind == "cpu" ? freeMilli[device.Index] / shape.DeviceMilli : 1;
}
