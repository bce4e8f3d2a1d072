using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Gangs;

/// <summary>Attempts that cannot read the checkpoint they resume from.</summary>
public sealed class DamagedCheckpointTests
{
    private static readonly GangTimeouts Timeouts = new();
    private DateTimeOffset now = Given.Noon;
    private GangState gang = Given.Gang("jobs/a", Given.Shape(data: 2), maxRestarts: 1) with { KeepCheckpoints = 3 };

    [Fact]
    public void Go_back_to_the_checkpoint_before_and_say_so()
    {
        Run();
        Commit(10);
        Commit(20);
        Fail(FailureCode.RankExited);

        Run();
        Assert.Equal("jobs/a/1/20", gang.Attempt?.ResumeFrom);
        Fail(FailureCode.CheckpointCorrupt, "jobs/a/1/20");

        // The one restart that the job had is used up; falling back takes none.
        Assert.Equal((GangStage.Queued, 1), (gang.Stage, gang.CountedRestarts));
        Assert.Contains("The job goes back to step 10 (jobs/a/1/10)", gang.StageReason, StringComparison.Ordinal);
        var past = gang.PastFailures[^1].Failure;
        Assert.Equal((FailureCode.CheckpointCorrupt, "jobs/a/1/20"), (past.Code, past.Checkpoint));
        Assert.Contains("The job goes back to step 10 (jobs/a/1/10).", past.Message, StringComparison.Ordinal);
        Assert.Equal(["jobs/a/1/20"], gang.UnreadableCheckpoints);
        Assert.DoesNotContain("n1", gang.AvoidNodes);
        Run();
        Assert.Equal("jobs/a/1/10", gang.Attempt?.ResumeFrom);
    }

    [Fact]
    public void Fail_for_good_when_no_checkpoint_is_left()
    {
        Run();
        Commit(10);
        Fail(FailureCode.RankExited);
        Run();
        Fail(FailureCode.CheckpointCorrupt, "jobs/a/1/10");

        Assert.Equal((GangStage.Failed, FailureCode.CheckpointCorrupt), (gang.Stage, gang.Failure?.Failure.Code));
        Assert.Contains("No other checkpoint is left to go back to.", gang.Failure?.Failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Discard_a_checkpoint_once_however_many_ranks_could_not_read_it()
    {
        Run();
        Commit(10);
        Commit(20);
        Commit(30);
        Fail(FailureCode.RankExited);
        Run();
        Report("n0", MemberPhase.Failed, Damaged("jobs/a/1/30"));
        Report("n1", MemberPhase.Failed, Damaged("jobs/a/1/30"));
        Release();

        Assert.Equal([10, 20], gang.Checkpoints.Select(checkpoint => checkpoint.Step));
        Assert.Equal(GangStage.Queued, gang.Stage);
    }

    [Fact]
    public void A_damaged_model_that_is_no_checkpoint_of_the_gang_discards_none()
    {
        Run();
        Commit(10);
        Fail(FailureCode.CheckpointCorrupt, checkpoint: null);

        Assert.Equal((GangStage.Queued, 1, 1), (gang.Stage, gang.Checkpoints.Count, gang.CountedRestarts));
    }

    private static GangFailure Damaged(string? checkpoint) => Given.Failure(FailureCode.CheckpointCorrupt) with { Checkpoint = checkpoint };

    private void Fail(FailureCode code, string? checkpoint = null)
    {
        Report("n1", MemberPhase.Failed, Given.Failure(code) with { Checkpoint = checkpoint });
        Release();
        now += TimeSpan.FromMinutes(1);
    }

    private void Run()
    {
        Apply(new GangEvent.Placed(
            new GangPlacement("jobs/a", [new MemberPlacement("n0", [new RankPlacement(0, [0], 1000)]), new MemberPlacement("n1", [new RankPlacement(1, [0], 1000)])]),
            "token", null));
        foreach (var phase in new[] { MemberPhase.Prepared, MemberPhase.Running })
        {
            Report("n0", phase);
            Report("n1", phase);
        }

        Assert.Equal(GangStage.Running, gang.Stage);
    }

    private void Commit(int step) => Apply(new GangEvent.CheckpointWritten(gang.Attempt!.Number, step, $"jobs/a/{gang.Attempt.Number}/{step}", "hash"));

    private void Release()
    {
        Report("n0", MemberPhase.Released);
        Report("n1", MemberPhase.Released);
    }

    private void Report(string node, MemberPhase phase, GangFailure? failure = null) =>
        Apply(new GangEvent.MemberReported(Given.Report(gang, node, phase, failure)));

    private void Apply(GangEvent happened) => (gang, _) = GangCoordinator.Apply(gang, happened, now, Timeouts);
}
