namespace Platform.Scheduling.Capacity;

/// <summary>Life of a node that was asked of a provider.</summary>
public enum ManagedNodePhase
{
    /// <summary>Its provider is to create it; it has not joined.</summary>
    Asked,

    /// <summary>Its agent has registered.</summary>
    Joined,

    /// <summary>What runs on it is moved away; then it is removed.</summary>
    Draining,

    /// <summary>Its provider is to remove it, and has not yet said that it is gone.</summary>
    Removing,
}

/// <summary>
/// A node that was asked of a provider. Its name is given once and never again, so asking a provider twice for the same name
/// gives one node, and a name that is not known any more is one that may go.
/// </summary>
/// <param name="Name">Name of the node.</param>
/// <param name="Group">Node group.</param>
/// <param name="Phase">How far it is.</param>
/// <param name="AskedAt">When it was asked for.</param>
public sealed record ManagedNode(string Name, string Group, ManagedNodePhase Phase, DateTimeOffset AskedAt)
{
    /// <summary>The gang for which it was asked; null for one that its group keeps anyway.</summary>
    public string? For { get; init; }

    /// <summary>The gang whose own cluster it belongs to; empty for the shared cluster.</summary>
    public string Cluster { get; init; } = "";

    /// <summary>When it is given up unless it has joined.</summary>
    public DateTimeOffset JoinUntil { get; init; }

    /// <summary>Since when nobody needs it; null while somebody does.</summary>
    public DateTimeOffset? IdleSince { get; init; }

    /// <summary>What its provider says of it; empty for nothing.</summary>
    public string Detail { get; init; } = "";

    /// <summary>Why it goes; empty while it stays.</summary>
    public string Reason { get; init; } = "";

    /// <summary>Whether it is to be there: neither leaving nor gone.</summary>
    internal bool Stays => Phase is ManagedNodePhase.Asked or ManagedNodePhase.Joined;
}

/// <summary>What is known of a group whose provider failed.</summary>
/// <param name="Failures">Failures in a row.</param>
/// <param name="NotBefore">When it may be asked again.</param>
/// <param name="Reason">What went wrong last.</param>
public sealed record GroupBackoff(int Failures, DateTimeOffset NotBefore, string Reason);

/// <summary>Everything that is remembered of the nodes asked of providers. A value: each change makes a new one.</summary>
public sealed record CapacityState
{
    /// <summary>Nothing was asked for yet.</summary>
    public static CapacityState Empty { get; } = new();

    /// <summary>The last number given to a node.</summary>
    public long LastNumber { get; init; }

    /// <summary>Nodes, by name.</summary>
    public IReadOnlyList<ManagedNode> Nodes { get; init; } = [];

    /// <summary>Groups whose provider failed, by name.</summary>
    public IReadOnlyDictionary<string, GroupBackoff> Backoffs { get; init; } = new Dictionary<string, GroupBackoff>();

    /// <summary>When a node was last asked for or sent away.</summary>
    public DateTimeOffset? ChangedAt { get; init; }

    /// <summary>Whether the number in a name was given away here.</summary>
    /// <param name="node">A name such as <c>burst-12</c>.</param>
    public bool HasNamed(string node) =>
        node.LastIndexOf('-') is > 0 and var dash && long.TryParse(node.AsSpan(dash + 1), out long number) && number <= LastNumber;
}

/// <summary>Something that a provider did or said.</summary>
public abstract record CapacityEvent
{
    private CapacityEvent()
    {
    }

    /// <summary>The provider did not create a node.</summary>
    /// <param name="Node">The node.</param>
    /// <param name="Reason">Why, as a sentence.</param>
    public sealed record Refused(string Node, string Reason) : CapacityEvent;

    /// <summary>The provider does not have a node: it was removed, or went by itself.</summary>
    /// <param name="Node">The node.</param>
    public sealed record Absent(string Node) : CapacityEvent;

    /// <summary>The provider says how far a node is.</summary>
    /// <param name="Node">The node.</param>
    /// <param name="Detail">A sentence.</param>
    public sealed record Told(string Node, string Detail) : CapacityEvent;
}

/// <summary>
/// What has to be done to the cluster. What has to be done at a provider follows from the state: nodes that are asked for
/// must be there, those that are being removed must not.
/// </summary>
public abstract record CapacityEffect
{
    private CapacityEffect()
    {
    }

    /// <summary>Nothing new may start on a node, and what runs is moved away.</summary>
    /// <param name="Node">The node.</param>
    public sealed record Drain(string Node) : CapacityEffect;

    /// <summary>A node is gone and will not return.</summary>
    /// <param name="Node">The node.</param>
    public sealed record Forget(string Node) : CapacityEffect;
}
