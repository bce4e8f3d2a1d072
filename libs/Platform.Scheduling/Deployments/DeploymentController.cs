using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Deployments;

/// <summary>
/// Brings the replicas of a deployment to what is wanted, as a state machine without I/O. It may be called at any time
/// and any number of times; with nothing to do it changes nothing.
/// </summary>
public static class DeploymentController
{
    /// <summary>How long a replica of a new revision may wait for devices before an old one makes room.</summary>
    private static readonly TimeSpan SurgePatience = TimeSpan.FromSeconds(30);

    /// <summary>What has to be done about a deployment with these replicas.</summary>
    public static (DeploymentState State, IReadOnlyList<DeploymentEffect> Effects) Reconcile(
        DeploymentState state, IReadOnlyList<ReplicaState> replicas, DateTimeOffset now, GangTimeouts timeouts)
    {
        var effects = new List<DeploymentEffect>();

        // 1. Forget those that have ended; failures delay the next one.
        foreach (var ended in replicas.Where(replica => replica.Gang.IsTerminal))
        {
            effects.Add(new DeploymentEffect.Forget(ended.Id));
            if (ended.Gang.Stage == GangStage.Failed)
            {
                int failures = state.ConsecutiveFailures + 1;
                state = state with
                {
                    ConsecutiveFailures = failures,
                    NotBefore = now + GangCoordinator.Backoff(failures, timeouts),
                    LastFailure = ended.Gang.Failure?.Failure.Message,
                };
            }
        }

        var live = replicas.Where(replica => !replica.Gang.IsTerminal).ToList();
        if (state.LastFailure is not null && live.Any(replica => replica.IsReady && replica.Revision == state.Revision))
        {
            state = state with { ConsecutiveFailures = 0, NotBefore = null, LastFailure = null };
        }

        // 2. Gone once it is to go and nothing is left.
        int desired = state.Deleting ? 0 : state.DesiredReplicas;
        if (state.Deleting && live.Count == 0)
        {
            effects.Add(new DeploymentEffect.Deleted());
            return (state, effects);
        }

        // 3. Too few of this revision: create, one after the other when they replace older ones.
        var current = live.Where(replica => replica.Revision == state.Revision && !IsLeaving(replica)).ToList();
        var old = live.Where(replica => replica.Revision != state.Revision && !IsLeaving(replica)).ToList();
        int missing = desired - current.Count;
        bool surgeWaits = old.Count > 0 && current.Any(replica => !replica.IsReady);
        if (missing > 0 && !surgeWaits && !(state.NotBefore > now))
        {
            for (int n = 0; n < (old.Count > 0 ? 1 : missing); n++)
            {
                effects.Add(new DeploymentEffect.Create($"{state.Id}-{state.Uid[..Math.Min(6, state.Uid.Length)]}-{state.NextReplica}"));
                state = state with { NextReplica = state.NextReplica + 1 };
            }
        }

        // 4. Too many: the least useful first.
        foreach (var surplus in current.OrderBy(replica => replica.IsReady).ThenByDescending(replica => replica.Gang.SubmittedAt).Take(Math.Max(0, -missing)))
        {
            effects.Add(new DeploymentEffect.Retire(surplus.Id));
        }

        // 5. Old revisions leave as new ones are ready, or make room for them.
        bool starved = current.Any(replica => replica.Gang.Stage == GangStage.Queued && now - replica.Gang.StageSince >= SurgePatience);
        int keep = Math.Max(0, desired - current.Count(replica => replica.IsReady) - (starved ? 1 : 0));
        foreach (var outdated in old.OrderBy(replica => replica.IsReady).Take(Math.Max(0, old.Count - keep)))
        {
            effects.Add(new DeploymentEffect.Retire(outdated.Id));
        }

        return (state, effects);
    }

    private static bool IsLeaving(ReplicaState replica) =>
        replica.Gang is { Stage: GangStage.Stopping, Attempt.Outcome: StopOutcome.Cancel or StopOutcome.Fail };
}
