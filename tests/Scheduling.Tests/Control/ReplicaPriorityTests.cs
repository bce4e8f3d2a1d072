using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Control;

/// <summary>Replicas ask for room and make room with their deployment's priority.</summary>
public sealed class ReplicaPriorityTests
{
    private readonly ControlOptions options = new() { Cycle = new CycleOptions { MinRuntime = TimeSpan.Zero } };
    private readonly ControlPlane plane;
    private DateTimeOffset now = Given.Noon;

    public ReplicaPriorityTests() => plane = new ControlPlane(new ControlRecord([], [], [], []), options, 1, () => "token", _ => null, now);

    [Fact]
    public void Replicas_beyond_the_minimum_leave_for_a_job_of_the_same_priority_and_the_others_only_for_a_higher_one()
    {
        Deploy(replicas: 2, minimum: 1, priority: 200);
        Pass(5);
        Assert.Equal(2, Ready().Count);
        string kept = Ready().Order(StringComparer.Ordinal).First();

        plane.Submit(Given.Gang("jobs/equal", Given.Shape(data: 3)) with { Priority = 200 });
        Pass(5);
        Assert.Equal(GangStage.Running, plane.Find("jobs/equal")?.Stage);
        Assert.Equal([kept], Ready());

        // The one that left waits and asks nobody; the last one stays for an equal and leaves for more.
        plane.Submit(Given.Gang("jobs/other", Given.Shape()) with { Priority = 200 });
        Pass(5);
        Assert.Equal([kept], Ready());
        Assert.Equal(GangStage.Queued, plane.Find("jobs/other")?.Stage);
        plane.Apply("jobs/equal", new GangEvent.CancelRequested(), now);
        Pass(5);
        plane.Submit(Given.Gang("jobs/all", Given.Shape(data: 4)) with { Priority = 201 });
        Pass(5);
        Assert.Equal(GangStage.Running, plane.Find("jobs/all")?.Stage);
        Assert.Empty(Ready());
    }

    [Fact]
    public void A_replica_asks_jobs_of_a_lower_priority_for_room()
    {
        Pass(1);
        plane.Submit(Given.Gang("jobs/low", Given.Shape(data: 4)) with { Priority = 100 });
        Pass(5);
        Assert.Equal(GangStage.Running, plane.Find("jobs/low")?.Stage);

        Deploy(replicas: 1, minimum: 1, priority: 101);
        Pass(6);

        Assert.Single(Ready());
        Assert.Equal(GangStage.Queued, plane.Find("jobs/low")?.Stage);
    }

    private void Deploy(int replicas, int minimum, int priority) => plane.PutDeployment(new DeploymentState
    {
        Id = "lm",
        Project = "default",
        Uid = "uid1234567",
        Spec = new() { Model = "lm", Deployment = new() { MinReplicas = minimum, MaxReplicas = 4, Priority = priority } },
        ModelVersion = 1,
        ModelDirectory = "models/lm/1",
        DesiredReplicas = replicas,
        CreatedAt = now,
    });

    private List<string> Ready() => [.. plane.Replicas.Where(replica => replica.IsReady).Select(replica => replica.Id)];

    /// <summary>Seconds in which the node does at once what it is told.</summary>
    private void Pass(int seconds)
    {
        for (int second = 0; second < seconds; second++)
        {
            now += TimeSpan.FromSeconds(1);
            plane.Renew("n0", "a", "", Given.Inventory("n0", 4), [], now);
            foreach (var gang in plane.Gangs.Where(gang => gang.IsActive).ToList())
            {
                plane.Report(Given.Report(gang, "n0", gang.Stage switch
                {
                    GangStage.Preparing => MemberPhase.Prepared,
                    GangStage.Starting or GangStage.Running => MemberPhase.Running,
                    _ => MemberPhase.Released,
                }, endpoint: gang.Kind == WorkloadKind.Serving && gang.Stage == GangStage.Starting ? $"http://n0/{gang.Gang}" : null), now);
            }

            plane.Tick(now);
            Assert.Empty(Invariants.Check(plane.Gangs, plane.Nodes, now, options));
        }
    }
}
