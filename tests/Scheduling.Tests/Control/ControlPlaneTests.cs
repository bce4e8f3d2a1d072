using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Control;

public sealed class ControlPlaneTests
{
    private readonly ControlOptions options = new();
    private readonly ControlPlane plane;
    private DateTimeOffset now = Given.Noon;

    public ControlPlaneTests() => plane = new ControlPlane(new ControlRecord([], [], [], []), options, 3, () => "token", gang => gang.TraceParent, Given.Noon);

    [Fact]
    public void Places_a_submitted_gang_and_tells_its_nodes_by_message_and_by_version()
    {
        Renew("n0");
        long before = Renew("n1").DesiredVersion;
        plane.Submit(Given.Gang("jobs/a", Given.Shape(tensor: 2, pipeline: 2, data: 2)));
        plane.Settle(now);

        var changes = plane.TakeChanges();
        Assert.Equal(GangStage.Preparing, Assert.Single(changes.Gangs).Stage);
        Assert.Equal(["n0", "n1"], changes.Commands.Select(command => command.Node));
        Assert.All(changes.Commands, command => Assert.Equal((GangPhase.Prepare, 3L), (command.Phase, command.Epoch)));
        Assert.NotEqual(before, Renew("n1").DesiredVersion);
        Assert.Equal(4, Assert.Single(plane.AssignmentsOf("n1", "a")!.Value.Assignments).Ranks.Count);
        Assert.Null(plane.AssignmentsOf("n1", "other"));
    }

    [Fact]
    public void Asks_an_unknown_run_of_an_agent_for_its_inventory() =>
        Assert.True(plane.Renew("n0", "a", "", null, [], now).InventoryNeeded);

    [Fact]
    public void Frees_a_silent_node_only_after_lease_and_skew()
    {
        Renew("n0");
        plane.Submit(Given.Gang("jobs/a", Given.Shape()));
        plane.Settle(now);
        now += options.Lease;
        plane.Tick(now);
        Assert.Equal(GangStage.Stopping, plane.Find("jobs/a")?.Stage);
        now += options.LeaseSkew - TimeSpan.FromSeconds(1);
        plane.Tick(now);
        Assert.Equal(GangStage.Stopping, plane.Find("jobs/a")?.Stage);
        now += TimeSpan.FromSeconds(1);
        plane.Tick(now);
        Assert.Equal(GangStage.Queued, plane.Find("jobs/a")?.Stage);
    }

    [Fact]
    public void A_new_run_of_an_agent_that_does_not_know_its_gang_fails_the_attempt()
    {
        Renew("n0");
        plane.Submit(Given.Gang("jobs/a", Given.Shape()));
        plane.Settle(now);
        plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", MemberPhase.Prepared), now);
        plane.Renew("n0", "b", "", Given.Inventory("n0", 4), [], now);

        Assert.Equal((GangStage.Stopping, FailureCode.NodeLost), (plane.Find("jobs/a")?.Stage, plane.Find("jobs/a")?.Attempt?.Failures[0].Code));
    }

    [Fact]
    public void Ignores_reports_of_a_run_of_the_agent_that_is_over()
    {
        Renew("n0");
        plane.Submit(Given.Gang("jobs/a", Given.Shape()));
        plane.Settle(now);
        plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", MemberPhase.Failed, Given.Failure()) with { Incarnation = "old" }, now);

        Assert.Equal(GangStage.Preparing, plane.Find("jobs/a")?.Stage);
    }

    [Fact]
    public void Scales_on_the_load_of_all_gateways_and_forgets_one_that_falls_silent()
    {
        plane.PutDeployment(new Scheduling.Deployments.DeploymentState
        {
            Id = "lm",
            Project = "default",
            Uid = "uid1234567",
            Spec = new() { Model = "lm", Deployment = new() { MinReplicas = 0, MaxReplicas = 4, TargetOngoingRequests = 2, UpscaleDelaySeconds = 0, DownscaleDelaySeconds = 30 } },
            ModelVersion = 1,
            ModelDirectory = "models/lm/1",
            DesiredReplicas = 1,
            CreatedAt = now,
        });
        Tell("a", 3);
        Tell("b", 2);
        plane.Tick(now);
        Assert.Equal(3, plane.FindDeployment("default/lm")?.DesiredReplicas);

        for (int second = 0; second < 45; second++)
        {
            now += TimeSpan.FromSeconds(1);
            Tell("b", 2);
            plane.Tick(now);
        }

        Assert.Equal(1, plane.FindDeployment("default/lm")?.DesiredReplicas);
        now += options.LoadExpiry + TimeSpan.FromSeconds(1);
        plane.Tick(now);
        Assert.Null(plane.LoadOf("default/lm"));
        Assert.Equal(1, plane.FindDeployment("default/lm")?.DesiredReplicas);

        void Tell(string gateway, int requests) => plane.ReportLoad(
            gateway, new Dictionary<string, Scheduling.Deployments.DeploymentLoad> { ["default/lm"] = new(requests, 0) }, now);
    }

    [Fact]
    public void Moves_gangs_off_a_node_that_is_drained_without_blame()
    {
        Renew("n0");
        plane.Submit(Given.Gang("jobs/a", Given.Shape()));
        plane.Settle(now);
        Renew("n1");
        Assert.True(plane.SetDraining("n0", true, now));
        plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", MemberPhase.Released), now);
        plane.Settle(now);

        var gang = plane.Find("jobs/a")!;
        Assert.Equal((GangStage.Preparing, "n1", 0), (gang.Stage, gang.Attempt?.Members[0].Node, gang.Restarts));
        Assert.False(plane.SetDraining("n9", true, now));
    }

    [Fact]
    public void Gives_gangs_the_time_that_a_node_has_left_to_save_and_leave()
    {
        plane.Renew("n0", "a", "", Given.Inventory("n0", 4) with { Spot = true }, [], now);
        plane.Submit(Given.Gang("jobs/a", Given.Shape() with { AllowsSpot = true }));
        plane.Settle(now);
        plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", MemberPhase.Prepared), now);
        plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", MemberPhase.Running), now);
        Renew("n1");
        plane.SetDraining("n0", true, now, now.AddSeconds(30));

        var stop = Assert.Single(plane.AssignmentsOf("n0", "a")!.Value.Assignments);
        Assert.Equal((GangPhase.Stop, 30 - options.Gangs.StopGrace.TotalSeconds), (stop.Phase, stop.StopGraceSeconds));
        plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", MemberPhase.Released), now);
        plane.Settle(now);
        Assert.Equal(("n1", 0), (plane.Find("jobs/a")?.Attempt?.Members[0].Node, plane.Find("jobs/a")?.Restarts));

        // A machine that starts its agent anew has been spared.
        plane.Renew("n0", "b", "", Given.Inventory("n0", 4) with { Spot = true }, [], now);
        Assert.All(plane.Nodes, node => Assert.False(node.Draining || node.LeavesAt is not null));
    }

    [Fact]
    public void Continues_from_what_was_committed()
    {
        Renew("n0");
        plane.Submit(Given.Gang("jobs/a", Given.Shape()));
        plane.Settle(now);
        var changes = plane.TakeChanges();
        var read = GangJson.Read<GangState>(GangJson.Write(changes.Gangs[0]));
        var next = new ControlPlane(new ControlRecord([read], changes.Nodes, [], []), options, 4, () => "other", _ => null, now);

        var assignment = Assert.Single(next.AssignmentsOf("n0", "a")!.Value.Assignments);
        Assert.Equal((4L, 1, "token", GangPhase.Prepare), (assignment.Epoch, assignment.Attempt, assignment.Token, assignment.Phase));
        Assert.Empty(Invariants.Check(next.Gangs, next.Nodes, now, options));
    }

    private LeaseRenewal Renew(string node) => plane.Renew(node, "a", "", Given.Inventory(node, 4), [], now);
}
