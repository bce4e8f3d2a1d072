using Platform.Core.Cluster;

namespace Platform.Scheduling.Control;

/// <summary>What the control plane knows of a node. A value: each change makes a new one.</summary>
public sealed record NodeState
{
    /// <summary>Name.</summary>
    public required string Node { get; init; }

    /// <summary>Run of its agent that holds the lease.</summary>
    public required string Incarnation { get; init; }

    /// <summary>What it offers.</summary>
    public required NodeInventory Inventory { get; init; }

    /// <summary>Address of its agent, for logs.</summary>
    public string AgentAddress { get; init; } = "";

    /// <summary>Until when its lease holds.</summary>
    public required DateTimeOffset LeaseUntil { get; init; }

    /// <summary>The lease ran out.</summary>
    public bool Lost { get; init; }

    /// <summary>The lease ran out so long ago that none of its processes can live.</summary>
    public bool Gone { get; init; }

    /// <summary>No new gangs; those that run stay.</summary>
    public bool Cordoned { get; init; }

    /// <summary>No new gangs; those that run are moved.</summary>
    public bool Draining { get; init; }

    /// <summary>When it will be taken away; null when that is not known.</summary>
    public DateTimeOffset? LeavesAt { get; init; }
}
