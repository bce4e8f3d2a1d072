using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Control;

/// <summary>Deployments and their replicas.</summary>
public sealed partial class ControlPlane
{
    private const int ReplicaRestarts = 2;

    /// <summary>The deployment, or null.</summary>
    /// <param name="key"><c>{project}/{deployment}</c>.</param>
    public DeploymentState? FindDeployment(string key) => deployments.GetValueOrDefault(key);

    /// <summary>Adds a deployment or replaces what is wanted of it.</summary>
    public void PutDeployment(DeploymentState deployment)
    {
        deployments[deployment.Key] = deployment;
        changes.Deployments.Add(deployment.Key);
    }

    private void Reconcile(DeploymentState deployment, DateTimeOffset now)
    {
        var own = Replicas.Where(replica => replica.Deployment == deployment.Key).ToList();
        var (next, effects) = DeploymentController.Reconcile(deployment, own, now, options.Gangs);
        if (next != deployment)
        {
            PutDeployment(next);
        }

        foreach (var effect in effects)
        {
            switch (effect)
            {
                case DeploymentEffect.Create create:
                    replicas[create.Replica] = (next.Key, next.Revision);
                    Submit(Replica(create.Replica, next, now));
                    changes.Replicas.Add(create.Replica);
                    break;
                case DeploymentEffect.Retire retire:
                    Apply(GangOf(retire.Replica), new GangEvent.CancelRequested(), now);
                    break;
                case DeploymentEffect.Forget forget:
                    replicas.Remove(forget.Replica);
                    changes.ForgottenReplicas.Add(forget.Replica);
                    if (!changes.Gangs.Contains(GangOf(forget.Replica)))
                    {
                        gangs.Remove(GangOf(forget.Replica));
                    }

                    break;
                case DeploymentEffect.Deleted:
                    deployments.Remove(next.Key);
                    changes.Deployments.Remove(next.Key);
                    changes.DeletedDeployments.Add(next.Key);
                    break;
            }
        }
    }

    /// <summary>
    /// Gangs of replicas beyond what their deployment wants at least: of each, those that run longest count towards the
    /// minimum. They have a lower standing than anything else of their priority.
    /// </summary>
    private HashSet<string> Surplus() => [.. Replicas.Where(replica => !replica.Gang.IsTerminal).GroupBy(replica => replica.Deployment)
        .SelectMany(own => own.OrderByDescending(replica => replica.IsReady).ThenBy(replica => replica.Gang.Attempt?.RunningAt ?? replica.Gang.SubmittedAt)
            .ThenBy(replica => replica.Id, StringComparer.Ordinal)
            .Skip(deployments.TryGetValue(own.Key, out var deployment) && !deployment.Deleting ? deployment.Spec.Deployment.MinReplicas : 0))
        .Select(replica => replica.Gang.Gang)];

    private static GangState Replica(string id, DeploymentState deployment, DateTimeOffset now) => new()
    {
        Gang = GangOf(id),
        Project = deployment.Project,
        User = deployment.User,
        Deployment = deployment.Id,
        Kind = WorkloadKind.Serving,
        Workload = GangJson.Write(new ReplicaWorkload(
            deployment.Id, deployment.Project, deployment.ModelDirectory, deployment.ModelVersion, deployment.Spec)
        {
            Adapters = deployment.Adapters,
            DraftDirectory = deployment.DraftDirectory,
        }),
        Shape = GangShape.Of(deployment.Spec),
        Queue = "default",
        Priority = deployment.Spec.Deployment.Priority,
        MaxRestarts = ReplicaRestarts,
        SubmittedAt = now,
        StageSince = now,
        StageReason = "Waits for devices.",
        TraceParent = deployment.TraceParent,
    };
}
