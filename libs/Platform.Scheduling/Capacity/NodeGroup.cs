using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Capacity;

/// <summary>Nodes of one shape that one provider gives.</summary>
public sealed record NodeGroup
{
    /// <summary>Provider of nodes that others start: the platform neither asks for them nor removes them.</summary>
    public const string Static = "static";

    /// <summary>Name; nodes go by it and a number.</summary>
    public required string Name { get; init; }

    /// <summary>Who gives its nodes.</summary>
    public required string Provider { get; init; }

    /// <summary>Nodes that are kept whether anybody needs them or not.</summary>
    public int MinNodes { get; init; }

    /// <summary>Nodes that there may be at most.</summary>
    public int MaxNodes { get; init; }

    /// <summary>Devices of each node.</summary>
    public int Devices { get; init; } = 1;

    /// <summary>Kind of its devices: <c>cpu</c> or <c>cuda</c>.</summary>
    public string DeviceKind { get; init; } = "cpu";

    /// <summary>Memory of each device.</summary>
    public long DeviceMemoryBytes { get; init; }

    /// <summary>Host memory of each node.</summary>
    public long MemoryBytes { get; init; }

    /// <summary>Labels of its nodes.</summary>
    public IReadOnlyDictionary<string, string> Topology { get; init; } = new Dictionary<string, string>();

    /// <summary>Whether its nodes can be taken away at short notice.</summary>
    public bool Spot { get; init; }

    /// <summary>Whether nodes can be asked for.</summary>
    public bool IsElastic => Provider != Static;

    /// <summary>A node of the group before anything runs on it.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="cluster">The gang whose own cluster it belongs to; empty for the shared cluster.</param>
    public NodeSnapshot Node(string name, string cluster) => new(
        name, true, "", Topology, MemoryBytes, MemoryBytes,
        [.. Enumerable.Range(0, Devices).Select(index => new DeviceSnapshot(index, DeviceKind, DeviceMemoryBytes, true, 1000))])
    {
        Group = Name,
        Spot = Spot,
        Cluster = cluster,
    };
}

/// <summary>Node groups and the times that they keep.</summary>
public sealed record CapacityOptions
{
    /// <summary>Node groups; of two that would do equally well the first is asked.</summary>
    public IReadOnlyList<NodeGroup> Groups { get; init; } = [];

    /// <summary>How long a node that was asked for may take to join before it is given up.</summary>
    public TimeSpan AskLease { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How long a node that nobody needs is kept.</summary>
    public TimeSpan IdleDelay { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Wait before a group is asked again after its provider failed; it doubles with each failure in a row.</summary>
    public TimeSpan BackoffBase { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Longest such wait.</summary>
    public TimeSpan BackoffLimit { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Whether gangs are moved by checkpoint when that makes a node superfluous.</summary>
    public bool Consolidation { get; init; } = true;

    /// <summary>How long nothing may have changed, and gangs must have run, before they are moved for that.</summary>
    public TimeSpan ConsolidationDelay { get; init; } = TimeSpan.FromMinutes(10);
}
