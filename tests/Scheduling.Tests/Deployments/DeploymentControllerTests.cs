using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Deployments;

public sealed class DeploymentControllerTests
{
    private static readonly GangTimeouts Timeouts = new();

    [Fact]
    public void Creates_what_is_missing_and_nothing_twice()
    {
        var (state, effects) = Reconcile(Deployment(2), []);
        string[] created = [.. effects.OfType<DeploymentEffect.Create>().Select(effect => effect.Replica)];
        Assert.Equal(["lm-uid123-1", "lm-uid123-2"], created);

        var (same, nothing) = Reconcile(state, [.. created.Select(id => Replica(id, GangStage.Queued))]);
        Assert.Equal(state, same);
        Assert.Empty(nothing);
    }

    [Fact]
    public void Retires_the_replica_that_is_not_ready_first_when_scaled_down()
    {
        var (_, effects) = Reconcile(Deployment(1), [Replica("a", GangStage.Running), Replica("b", GangStage.Queued)]);
        Assert.Equal(new DeploymentEffect.Retire("b"), Assert.Single(effects));
    }

    [Fact]
    public void Replaces_a_failed_replica_only_after_a_growing_wait()
    {
        var (state, effects) = Reconcile(Deployment(1), [Replica("a", GangStage.Failed)]);
        Assert.Equal([new DeploymentEffect.Forget("a")], effects);
        Assert.Empty(Reconcile(state, []).Effects);

        var (later, created) = Reconcile(state, [], Given.Noon.AddSeconds(2));
        Assert.IsType<DeploymentEffect.Create>(Assert.Single(created));
        var (again, _) = Reconcile(later, [Replica("b", GangStage.Failed)]);
        Assert.Equal(Given.Noon + TimeSpan.FromSeconds(2), again.NotBefore);
    }

    [Fact]
    public void Is_gone_once_the_last_replica_of_a_deleted_deployment_has_ended()
    {
        var deleting = Deployment(1) with { Deleting = true };
        Assert.Equal([new DeploymentEffect.Retire("a")], Reconcile(deleting, [Replica("a", GangStage.Running)]).Effects);
        Assert.Equal([new DeploymentEffect.Forget("a"), new DeploymentEffect.Deleted()], Reconcile(deleting, [Replica("a", GangStage.Cancelled)]).Effects);
    }

    [Fact]
    public void Keeps_the_old_revision_until_the_new_one_is_ready()
    {
        var rolled = Deployment(1) with { Revision = 2 };
        Assert.IsType<DeploymentEffect.Create>(Assert.Single(Reconcile(rolled, [Replica("old", GangStage.Running)]).Effects));
        Assert.Empty(Reconcile(rolled, [Replica("old", GangStage.Running), Replica("new", GangStage.Starting, 2)]).Effects);
        Assert.Equal([new DeploymentEffect.Retire("old")], Reconcile(rolled, [Replica("old", GangStage.Running), Replica("new", GangStage.Running, 2)]).Effects);
    }

    [Fact]
    public void Makes_room_when_the_new_revision_finds_no_devices()
    {
        var rolled = Deployment(1) with { Revision = 2 };
        Assert.Equal(
            [new DeploymentEffect.Retire("old")],
            Reconcile(rolled, [Replica("old", GangStage.Running), Replica("new", GangStage.Queued, 2)], Given.Noon.AddMinutes(1)).Effects);
    }

    private static (DeploymentState State, IReadOnlyList<DeploymentEffect> Effects) Reconcile(
        DeploymentState state, IReadOnlyList<ReplicaState> replicas, DateTimeOffset? now = null) =>
        DeploymentController.Reconcile(state, replicas, now ?? Given.Noon, Timeouts);

    private static DeploymentState Deployment(int replicas) => new()
    {
        Id = "lm",
        Project = "default",
        Uid = "uid1234567",
        Spec = new DeploymentSpec { Model = "lm" },
        ModelVersion = 1,
        ModelDirectory = "models/lm/1",
        DesiredReplicas = replicas,
        CreatedAt = Given.Noon,
    };

    private static ReplicaState Replica(string id, GangStage stage, int revision = 1)
    {
        var gang = Given.Gang($"replicas/{id}", Given.Shape(), WorkloadKind.Serving) with { Stage = stage };
        return new ReplicaState(id, "default/lm", revision, stage != GangStage.Running ? gang : gang with
        {
            Attempt = new AttemptState
            {
                Number = 1,
                Token = "t",
                PlacedAt = Given.Noon,
                Members = [new MemberState("n0", [new RankPlacement(0, [0], 1000)]) { ReplicaEndpoint = "http://n0:1" }],
            },
        });
    }
}
