using System.Diagnostics;
using System.Runtime.InteropServices;
using Platform.Core.Gangs;
using Platform.Scheduling.Capacity;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduler.Adapters;

/// <summary>What readers see of the control plane without waiting for the loop: the state after the last commit.</summary>
internal sealed class ControlView
{
    /// <summary>Name under which watchers of the routing table wait.</summary>
    public const string Routes = "routes";

    /// <summary>Gauges need not be newer than that: they are asked for every few seconds, and counting takes time.</summary>
    private static readonly TimeSpan MeasureInterval = TimeSpan.FromSeconds(0.1);

    private readonly Stopwatch clock = Stopwatch.StartNew();
    private volatile Content content = new(false, new Dictionary<string, GangDeferral>(), [], [], [], new ClusterSnapshot([]), 0, "", new FeasibilityChecks(new ClusterSnapshot([])));

    /// <summary>The state after the last commit.</summary>
    public Content Now => content;

    public void Clear()
    {
        if (content.Leading)
        {
            content = content with { Leading = false };
        }
    }

    /// <summary>Takes over the state after a commit; returns the names of what readers would see otherwise than before.</summary>
    public IReadOnlyCollection<string> Update(ControlPlane plane, ControlChanges changes)
    {
        var before = content;
        var names = new List<string>();
        var replicas = changes.IsEmpty && before.Leading ? before.Replicas : plane.Replicas;
        var deployments = changes.IsEmpty && before.Leading ? before.Deployments : [.. plane.Deployments];
        string routes = changes.IsEmpty && before.Leading ? before.RouteKey : KeyOf(deployments, replicas);
        if (routes != before.RouteKey)
        {
            names.Add(Routes);
        }

        var deferrals = WithNodesOnTheirWay(plane);
        names.AddRange(ReferenceEquals(deferrals, before.Deferrals) ? [] : deferrals.Where(entry => before.Deferrals.GetValueOrDefault(entry.Key)?.Reason.Message != entry.Value.Reason.Message).Select(entry => entry.Key));
        var cluster = plane.Snapshot();
        content = new Content(
            true, deferrals, [.. plane.Nodes], deployments, replicas, cluster, before.RouteVersion + (routes == before.RouteKey ? 0 : 1), routes,
            before.Leading && changes.Nodes.Count + changes.ForgottenNodes.Count == 0 ? before.Feasibility : new FeasibilityChecks(cluster))
        {
            Capacity = plane.Capacity,
        };
        if (clock.Elapsed >= MeasureInterval || !before.Leading)
        {
            clock.Restart();
            Measure(plane, content);
        }

        return names;
    }

    /// <summary>Reasons for waiting, with the nodes that are being created for it.</summary>
    private static IReadOnlyDictionary<string, GangDeferral> WithNodesOnTheirWay(ControlPlane plane)
    {
        var coming = plane.Capacity.Nodes.Where(node => node.Phase == ManagedNodePhase.Asked && node.For is not null && plane.Deferrals.ContainsKey(node.For))
            .GroupBy(node => (For: node.For ?? "", node.Group)).ToList();
        if (coming.Count == 0)
        {
            return plane.Deferrals;
        }

        var deferrals = plane.Deferrals.ToDictionary();
        foreach (var nodes in coming)
        {
            var deferral = deferrals[nodes.Key.For];
            string message = $"{deferral.Reason.Message} {nodes.Count()} of node group {nodes.Key.Group} {(nodes.Count() == 1 ? "is" : "are")} being created for it.";
            deferrals[nodes.Key.For] = deferral with { Reason = deferral.Reason with { Message = message } };
        }

        return deferrals;
    }

    private static string KeyOf(IEnumerable<DeploymentState> deployments, IEnumerable<ReplicaState> replicas) => string.Join(
        '\n',
        deployments.Select(deployment => $"{deployment.Key} {deployment.Revision} {deployment.ModelVersion} {deployment.Deleting}")
            .Concat(replicas.Where(replica => replica.IsReady).Select(replica => $"{replica.Deployment} {replica.Revision} {replica.Endpoint}")));

    private static void Measure(ControlPlane plane, Content content)
    {
        var gangs = new Dictionary<(WorkloadKind, GangStage), int>();
        foreach (var gang in plane.Gangs)
        {
            CollectionsMarshal.GetValueRefOrAddDefault(gangs, (gang.Kind, gang.Stage), out _)++;
        }

        foreach (var kind in Enum.GetValues<WorkloadKind>())
        {
            foreach (var stage in Enum.GetValues<GangStage>().Where(stage => stage is not (GangStage.Succeeded or GangStage.Failed or GangStage.Cancelled)))
            {
                SchedulerMetrics.Gangs.WithLabels(kind.ToString(), stage.ToString()).Set(gangs.GetValueOrDefault((kind, stage)));
            }
        }

        var reasons = new Dictionary<PendingCode, int>();
        foreach (var deferral in content.Deferrals.Values)
        {
            CollectionsMarshal.GetValueRefOrAddDefault(reasons, deferral.Reason.Code, out _)++;
        }

        foreach (var code in Enum.GetValues<PendingCode>())
        {
            SchedulerMetrics.Pending.WithLabels(code.ToString()).Set(reasons.GetValueOrDefault(code));
        }

        SchedulerMetrics.Nodes.WithLabels("ready").Set(content.Nodes.Count(node => !node.Lost && !node.Draining));
        SchedulerMetrics.Nodes.WithLabels("lost").Set(content.Nodes.Count(node => node.Lost));
        SchedulerMetrics.Nodes.WithLabels("draining").Set(content.Nodes.Count(node => !node.Lost && node.Draining));
        foreach (var kind in content.Cluster.Nodes.SelectMany(node => node.Devices.Select(device => (node.Schedulable, device))).GroupBy(entry => entry.device.Kind))
        {
            SchedulerMetrics.Devices.WithLabels(kind.Key).Set(kind.Count(entry => entry.Schedulable && entry.device.Healthy));
            SchedulerMetrics.DevicesAllocated.WithLabels(kind.Key).Set(kind.Sum(entry => 1000 - entry.device.FreeMilli) / 1000.0);
        }
    }

    /// <summary>One state.</summary>
    internal sealed record Content(
        bool Leading, IReadOnlyDictionary<string, GangDeferral> Deferrals, IReadOnlyList<NodeState> Nodes,
        IReadOnlyList<DeploymentState> Deployments, IReadOnlyList<ReplicaState> Replicas, ClusterSnapshot Cluster, long RouteVersion, string RouteKey, FeasibilityChecks Feasibility)
    {
        /// <summary>Nodes that were asked of providers.</summary>
        public CapacityState Capacity { get; init; } = CapacityState.Empty;
    }
}
