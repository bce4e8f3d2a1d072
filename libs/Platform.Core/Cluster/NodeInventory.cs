namespace Platform.Core.Cluster;

/// <summary>A device as a node reports it.</summary>
/// <param name="Index">Place on the node, from 0.</param>
/// <param name="Kind"><c>cpu</c> or <c>cuda</c>.</param>
/// <param name="MemoryBytes">Memory a gang may use on it.</param>
/// <param name="Healthy">Whether it may be allocated.</param>
public sealed record DeviceInfo(int Index, string Kind, long MemoryBytes, bool Healthy = true);

/// <summary>What a node has to offer.</summary>
/// <param name="Node">Name, unique in the cluster.</param>
/// <param name="Devices">Devices by index.</param>
/// <param name="MemoryBytes">Host memory.</param>
/// <param name="Topology">Labels such as <c>block</c>, <c>rack</c> and <c>zone</c>.</param>
/// <param name="AgentVersion">Version of the agent.</param>
public sealed record NodeInventory(
    string Node, IReadOnlyList<DeviceInfo> Devices, long MemoryBytes,
    IReadOnlyDictionary<string, string> Topology, string AgentVersion)
{
    /// <summary>Node group that it belongs to; empty for none.</summary>
    public string Group { get; init; } = "";

    /// <summary>Whether it can be taken away at short notice.</summary>
    public bool Spot { get; init; }

    /// <summary>The gang whose own cluster it belongs to; empty for the shared cluster.</summary>
    public string Cluster { get; init; } = "";
}
