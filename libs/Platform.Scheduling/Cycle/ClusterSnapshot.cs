namespace Platform.Scheduling.Cycle;

/// <summary>A device as the cycle sees it.</summary>
/// <param name="Index">Place on its node.</param>
/// <param name="Kind"><c>cpu</c> or <c>cuda</c>.</param>
/// <param name="MemoryBytes">Memory of the whole device.</param>
/// <param name="Healthy">Whether it may be allocated.</param>
/// <param name="FreeMilli">Thousandths that no live allocation holds, [0, 1000].</param>
public sealed record DeviceSnapshot(int Index, string Kind, long MemoryBytes, bool Healthy, int FreeMilli)
{
    /// <summary>Model, such as <c>H200</c>; empty when it is not known.</summary>
    public string Model { get; init; } = "";
}

/// <summary>A node as the cycle sees it.</summary>
/// <param name="Name">Name, unique in the cluster.</param>
/// <param name="Schedulable">Whether new gangs may be placed on it.</param>
/// <param name="Condition">Why it is not schedulable: <c>lost</c> or <c>draining</c>; empty otherwise.</param>
/// <param name="Topology">Labels such as <c>block</c>, <c>rack</c> and <c>zone</c>.</param>
/// <param name="MemoryBytes">Host memory.</param>
/// <param name="FreeMemoryBytes">Host memory that no live allocation claims.</param>
/// <param name="Devices">Devices by index.</param>
public sealed record NodeSnapshot(
    string Name, bool Schedulable, string Condition, IReadOnlyDictionary<string, string> Topology,
    long MemoryBytes, long FreeMemoryBytes, IReadOnlyList<DeviceSnapshot> Devices)
{
    /// <summary>Thousandths of processor cores; 0 when they are not counted.</summary>
    public long CpuMilli { get; init; }

    /// <summary>Thousandths of processor cores that no live allocation claims.</summary>
    public long FreeCpuMilli { get; init; }

    /// <summary>Node group that it belongs to; empty for none.</summary>
    public string Group { get; init; } = "";

    /// <summary>Whether it can be taken away at short notice.</summary>
    public bool Spot { get; init; }

    /// <summary>The gang whose own cluster it belongs to; empty for the shared cluster.</summary>
    public string Cluster { get; init; } = "";

    /// <summary>Whether the node is one of those that the request may use, whatever of it is free.</summary>
    public bool Admits(Placement.RankRequest request) =>
        Cluster == request.Cluster && (!Spot || request.AllowsSpot) && (request.NodeGroup.Length == 0 || request.NodeGroup == Group);

    /// <summary>The same node with nothing allocated.</summary>
    public NodeSnapshot Freed() => this with
    {
        FreeMemoryBytes = MemoryBytes,
        FreeCpuMilli = CpuMilli,
        Devices = [.. Devices.Select(device => device with { FreeMilli = 1000 })],
    };

    /// <summary>The same node with nothing allocated, in service.</summary>
    public NodeSnapshot Emptied() => Freed() with { Schedulable = true, Condition = "" };
}

/// <summary>What the cluster has and what is free of it, at one moment.</summary>
/// <param name="Nodes">Nodes, ordered by name.</param>
public sealed record ClusterSnapshot(IReadOnlyList<NodeSnapshot> Nodes)
{
    /// <summary>The same cluster with nothing allocated and every known node in service.</summary>
    public ClusterSnapshot Emptied() => new([.. Nodes.Select(node => node.Emptied())]);

    /// <summary>The same cluster with nothing allocated; nodes that are out of service stay so.</summary>
    public ClusterSnapshot Freed() => new([.. Nodes.Select(node => node.Freed())]);
}
