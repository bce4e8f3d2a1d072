using Platform.Core.Gangs;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Control;

/// <summary>What changed since the last time it was asked: to be committed as a whole, and then told.</summary>
/// <param name="Gangs">Gangs that are new or changed, as they are now.</param>
/// <param name="Nodes">Nodes that are new or changed, as they are now.</param>
/// <param name="Deployments">Deployments that are new or changed, as they are now.</param>
/// <param name="DeletedDeployments">Keys of deployments that are gone.</param>
/// <param name="Replicas">Replicas that are new.</param>
/// <param name="ForgottenReplicas">Ids of replicas that are gone.</param>
/// <param name="EndedAttempts">Attempts that ended.</param>
/// <param name="Commands">Assignments to be sent as messages once the rest is committed; losing one is harmless.</param>
public sealed record ControlChanges(
    IReadOnlyList<GangState> Gangs,
    IReadOnlyList<NodeState> Nodes,
    IReadOnlyList<DeploymentState> Deployments,
    IReadOnlyList<string> DeletedDeployments,
    IReadOnlyList<ReplicaState> Replicas,
    IReadOnlyList<string> ForgottenReplicas,
    IReadOnlyList<(string Gang, AttemptState Attempt, StopOutcome Outcome)> EndedAttempts,
    IReadOnlyList<GangAssignment> Commands)
{
    /// <summary>Queues that are new or changed, as they are now.</summary>
    public IReadOnlyList<QueueSpec> Queues { get; init; } = [];

    /// <summary>What queues used lately; null when what is stored is new enough.</summary>
    public QueueHistory? History { get; init; }

    /// <summary>Nodes asked of providers, as they are now; null when that has not changed.</summary>
    public Capacity.CapacityState? Capacity { get; init; }

    /// <summary>Nodes that are gone.</summary>
    public IReadOnlyList<string> ForgottenNodes { get; init; } = [];

    /// <summary>Whether there is nothing to commit.</summary>
    public bool IsEmpty => Gangs.Count + Nodes.Count + Deployments.Count + DeletedDeployments.Count
        + Replicas.Count + ForgottenReplicas.Count + EndedAttempts.Count + Queues.Count + ForgottenNodes.Count == 0 && Capacity is null && History is null;
}

/// <summary>What the control plane starts from: what was last committed.</summary>
/// <param name="Gangs">Gangs that are not in a final stage.</param>
/// <param name="Nodes">Known nodes.</param>
/// <param name="Deployments">Deployments.</param>
/// <param name="Replicas">Replicas: id, key of the deployment, revision and gang name.</param>
public sealed record ControlRecord(
    IReadOnlyList<GangState> Gangs, IReadOnlyList<NodeState> Nodes, IReadOnlyList<DeploymentState> Deployments,
    IReadOnlyList<(string Id, string Deployment, int Revision)> Replicas)
{
    /// <summary>Nodes asked of providers.</summary>
    public Capacity.CapacityState Capacity { get; init; } = Platform.Scheduling.Capacity.CapacityState.Empty;

    /// <summary>Queues that were set up.</summary>
    public IReadOnlyList<QueueSpec> Queues { get; init; } = [];

    /// <summary>What queues used lately.</summary>
    public QueueHistory History { get; init; } = QueueHistory.Empty;

    /// <summary>What attempts that have ended used, by queue.</summary>
    public IReadOnlyList<QueueSpending> Spent { get; init; } = [];
}

/// <summary>Answer to a renewed lease.</summary>
/// <param name="Lease">How long it holds from now.</param>
/// <param name="DesiredVersion">Version of what is wanted of the node.</param>
/// <param name="InventoryNeeded">The node is not known; it has to send its inventory.</param>
public sealed record LeaseRenewal(TimeSpan Lease, long DesiredVersion, bool InventoryNeeded);
