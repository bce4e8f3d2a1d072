using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Gangs;

public sealed class GangCoordinatorTests
{
    private static readonly GangTimeouts Timeouts = new();
    private DateTimeOffset now = Given.Noon;
    private GangState gang = Given.Gang("jobs/a", Given.Shape(data: 2), maxRestarts: 2);

    [Fact]
    public void Starts_only_when_every_member_is_prepared_and_tells_the_rendezvous()
    {
        Place();
        Report("n0", MemberPhase.Prepared);
        Assert.All(Wanted(), assignment => Assert.Equal(GangPhase.Prepare, assignment.Phase));

        var effects = Report("n1", MemberPhase.Prepared);

        Assert.Equal(GangStage.Starting, gang.Stage);
        Assert.Equal(["n0", "n1"], effects.OfType<GangEffect.AssignmentChanged>().Select(effect => effect.Node));
        Assert.All(Wanted(), assignment => Assert.Equal((GangPhase.Start, "n0:1"), (assignment.Phase, assignment.RendezvousAddress)));
        Assert.Equal([true, false], Wanted().Select(assignment => assignment.HostsRendezvous));
    }

    [Fact]
    public void Succeeds_only_when_every_member_succeeded_and_released()
    {
        Run();
        Report("n0", MemberPhase.Succeeded);
        Assert.Equal(GangStage.Running, gang.Stage);
        Report("n1", MemberPhase.Succeeded);
        Assert.Equal(GangStage.Stopping, gang.Stage);
        Report("n0", MemberPhase.Released);
        Assert.Equal(GangStage.Stopping, gang.Stage);

        var effects = Report("n1", MemberPhase.Released);

        Assert.Equal(GangStage.Succeeded, gang.Stage);
        Assert.Contains(effects, effect => effect is GangEffect.Finished);
        Assert.Empty(Wanted());
    }

    [Fact]
    public void Stops_all_and_queues_again_when_a_member_refuses()
    {
        Place();
        Report("n1", MemberPhase.Failed, Given.Failure(FailureCode.DevicesUnavailable));
        Assert.All(Wanted(), assignment => Assert.Equal(GangPhase.Stop, assignment.Phase));

        Release();

        Assert.Equal((GangStage.Queued, 1, 0), (gang.Stage, gang.Restarts, gang.CountedRestarts));
        Assert.Equal(now + Timeouts.BackoffBase, gang.NotBefore);
        Assert.Equal(FailureCode.DevicesUnavailable, Assert.Single(gang.PastFailures).Failure.Code);
        Assert.Equal(["n1"], gang.AvoidNodes);
    }

    [Fact]
    public void A_permanent_failure_is_final()
    {
        Place();
        Report("n1", MemberPhase.Failed, Given.Failure(FailureCode.InputUnreadable, permanent: true));
        Release();

        Assert.Equal((GangStage.Failed, FailureCode.InputUnreadable), (gang.Stage, gang.Failure?.Failure.Code));
    }

    [Fact]
    public void Resumes_from_the_last_committed_checkpoint_and_keeps_the_reason()
    {
        Run();
        Commit(attempt: 1, step: 10);
        Report("n0", MemberPhase.Failed, Given.Failure());
        Release();
        now += TimeSpan.FromMinutes(1);
        Place();

        Assert.Equal(2, gang.Attempt?.Number);
        Assert.All(Wanted(), assignment => Assert.Equal("jobs/a/1/10", assignment.ResumeFrom));
        Assert.Equal(1, Assert.Single(gang.PastFailures).Attempt);
    }

    [Fact]
    public void Refuses_a_checkpoint_of_an_attempt_that_is_over_and_repeats_the_answer_for_one_that_exists()
    {
        Run();
        Commit(1, 10);
        Commit(1, 20);
        var third = Assert.IsType<GangEffect.CheckpointCommitted>(Assert.Single(Commit(1, 30)));
        Assert.Equal(["jobs/a/1/10"], third.Checkpoint.Expires);
        Assert.Equal(third, Assert.Single(Commit(1, 30)));
        Assert.IsType<GangEffect.Refused>(Assert.Single(Commit(1, 25)));

        Report("n0", MemberPhase.Failed, Given.Failure());
        Release();
        Assert.IsType<GangEffect.Refused>(Assert.Single(Commit(1, 40)));
        now += TimeSpan.FromMinutes(1);
        Run();
        Assert.IsType<GangEffect.Refused>(Assert.Single(Commit(1, 40)));
        Assert.IsType<GangEffect.CheckpointCommitted>(Assert.Single(Commit(2, 40)));
    }

    [Fact]
    public void Gives_up_after_max_restarts_with_every_reason_kept()
    {
        for (int attempt = 0; attempt < 3; attempt++)
        {
            Run();
            Report("n0", MemberPhase.Failed, Given.Failure());
            Release();
            now += TimeSpan.FromMinutes(10);
        }

        Assert.Equal((GangStage.Failed, 2, 2), (gang.Stage, gang.Restarts, gang.PastFailures.Count));
        Assert.Equal(3, gang.Failure?.Attempt);
    }

    [Fact]
    public void Doubles_the_wait_with_each_failure_up_to_the_limit()
    {
        Assert.Equal([1, 2, 4, 8], Enumerable.Range(1, 4).Select(n => GangCoordinator.Backoff(n, Timeouts).TotalSeconds));
        Assert.Equal(Timeouts.BackoffLimit, GangCoordinator.Backoff(1000, Timeouts));
    }

    [Fact]
    public void Stops_all_when_the_members_are_not_prepared_in_time_and_names_the_late_one()
    {
        Place();
        Report("n0", MemberPhase.Prepared);
        now += Timeouts.Prepare;
        Apply(new GangEvent.Tick());
        Release();

        Assert.Equal((FailureCode.PrepareTimeout, "n1"), (gang.PastFailures[0].Failure.Code, gang.PastFailures[0].Failure.Node));
    }

    [Fact]
    public void Frees_the_devices_of_a_lost_node_only_once_its_processes_cannot_live()
    {
        Run();
        Apply(new GangEvent.NodeExpired("n1"));
        Assert.Equal(GangStage.Stopping, gang.Stage);
        Report("n0", MemberPhase.Released);
        Assert.False(gang.Attempt?.IsReleased);

        Apply(new GangEvent.NodeGone("n1"));

        Assert.Equal((GangStage.Queued, FailureCode.NodeLost), (gang.Stage, gang.PastFailures[0].Failure.Code));
    }

    [Fact]
    public void Ignores_late_doubled_and_reordered_reports()
    {
        Run();
        var before = gang;
        Report("n0", MemberPhase.Preparing);
        Report("n0", MemberPhase.Prepared);
        Report("n0", MemberPhase.Running);
        Report("n0", MemberPhase.Failed, Given.Failure(), attempt: 7);
        Report("elsewhere", MemberPhase.Failed, Given.Failure());

        Assert.Same(before, gang);
    }

    [Fact]
    public void Ignores_what_an_earlier_attempt_says_late()
    {
        Run();
        Report("n0", MemberPhase.Failed, Given.Failure());
        Release();
        now += TimeSpan.FromMinutes(1);
        Run();
        var second = gang;
        Report("n0", MemberPhase.Failed, Given.Failure(), attempt: 1);
        Report("n0", MemberPhase.Released, attempt: 1);

        Assert.Same(second, gang);
    }

    [Fact]
    public void Learns_of_a_failure_whose_report_was_lost_from_the_release_after_it()
    {
        Run();
        Report("n0", MemberPhase.Released, Given.Failure(FailureCode.Diverged, permanent: true));
        Report("n1", MemberPhase.Released);

        Assert.Equal((GangStage.Failed, FailureCode.Diverged), (gang.Stage, gang.Failure?.Failure.Code));
    }

    [Fact]
    public void Blames_the_node_that_was_lost_rather_than_the_peers_that_failed_because_of_it()
    {
        Run();
        Report("n0", MemberPhase.Failed, Given.Failure(FailureCode.WorkloadError));
        Report("n0", MemberPhase.Released);
        Apply(new GangEvent.NodeGone("n1"));

        Assert.Equal(FailureCode.NodeLost, gang.PastFailures[0].Failure.Code);
    }

    [Fact]
    public void An_agent_that_forgot_the_attempt_fails_it()
    {
        Run();
        Apply(new GangEvent.MemberForgotten("n1"));

        Assert.Equal((GangStage.Stopping, StopOutcome.Requeue), (gang.Stage, gang.Attempt?.Outcome));
    }

    [Fact]
    public void Cancels_in_every_stage()
    {
        Apply(new GangEvent.CancelRequested());
        Assert.Equal(GangStage.Cancelled, gang.Stage);

        gang = Given.Gang("jobs/a", Given.Shape(data: 2));
        Run();
        Apply(new GangEvent.CancelRequested());
        Assert.Equal(GangStage.Stopping, gang.Stage);
        Report("n0", MemberPhase.Failed, Given.Failure());
        Release();
        Assert.Equal(GangStage.Cancelled, gang.Stage);

        var cancelled = gang;
        Apply(new GangEvent.CancelRequested());
        Apply(new GangEvent.ResumeRequested());
        Assert.Same(cancelled, gang);
    }

    [Fact]
    public void Pauses_with_time_to_save_and_resumes()
    {
        Run();
        Apply(new GangEvent.PauseRequested());
        Assert.All(Wanted(), assignment => Assert.Equal(Timeouts.CheckpointGrace.TotalSeconds, assignment.StopGraceSeconds));
        Assert.IsType<GangEffect.CheckpointCommitted>(Assert.Single(Commit(1, 10)));
        Release();
        Assert.Equal(GangStage.Paused, gang.Stage);

        Apply(new GangEvent.ResumeRequested());
        Run();
        Assert.Equal((GangStage.Running, 0, "jobs/a/1/10"), (gang.Stage, gang.Restarts, gang.Attempt?.ResumeFrom));
    }

    [Fact]
    public void A_replica_runs_when_its_engine_answers_and_fails_when_its_process_ends()
    {
        gang = Given.Gang("replicas/r", Given.Shape(), WorkloadKind.Serving);
        Apply(new GangEvent.Placed(new GangPlacement("replicas/r", [new MemberPlacement("n0", [new RankPlacement(0, [0], 1000)])]), "t", null));
        Report("n0", MemberPhase.Prepared);
        Report("n0", MemberPhase.Running);
        Assert.Equal(GangStage.Starting, gang.Stage);
        Apply(new GangEvent.MemberReported(Given.Report(gang, "n0", MemberPhase.Running, endpoint: "http://n0:1")));
        Assert.Equal(GangStage.Running, gang.Stage);

        Report("n0", MemberPhase.Succeeded);
        Assert.Equal((GangStage.Stopping, StopOutcome.Requeue), (gang.Stage, gang.Attempt?.Outcome));
    }

    private void Run()
    {
        Place();
        foreach (var phase in new[] { MemberPhase.Preparing, MemberPhase.Prepared, MemberPhase.Running })
        {
            Report("n0", phase);
            Report("n1", phase);
        }

        Assert.Equal(GangStage.Running, gang.Stage);
    }

    private void Place() => Apply(new GangEvent.Placed(
        new GangPlacement("jobs/a", [new MemberPlacement("n0", [new RankPlacement(0, [0], 1000)]), new MemberPlacement("n1", [new RankPlacement(1, [0], 1000)])]), "token", null));

    private void Release()
    {
        Report("n0", MemberPhase.Released);
        Report("n1", MemberPhase.Released);
    }

    private IReadOnlyList<GangEffect> Commit(int attempt, int step) =>
        Apply(new GangEvent.CheckpointWritten(attempt, step, $"jobs/a/{attempt}/{step}", $"hash{step}"));

    private IReadOnlyList<GangEffect> Report(string node, MemberPhase phase, GangFailure? failure = null, int? attempt = null) =>
        Apply(new GangEvent.MemberReported(Given.Report(gang, node, phase, failure, attempt)));

    private IReadOnlyList<GangAssignment> Wanted() => GangCoordinator.Assignments(gang, 1, Timeouts);

    private IReadOnlyList<GangEffect> Apply(GangEvent happened)
    {
        (gang, var effects) = GangCoordinator.Apply(gang, happened, now, Timeouts);
        return effects;
    }
}
