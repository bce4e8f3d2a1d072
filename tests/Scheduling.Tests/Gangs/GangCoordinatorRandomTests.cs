using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Gangs;

/// <summary>Any events in any order: the coordinator keeps its promises whatever it is told.</summary>
public sealed class GangCoordinatorRandomTests
{
    private static readonly GangTimeouts Timeouts = new();

    [Fact]
    public void Keeps_its_promises_whatever_order_events_come_in()
    {
        for (int seed = 0; seed < 2000; seed++)
        {
            var random = new Random(seed);
            var now = Given.Noon;
            var gang = Given.Gang("jobs/a", Given.Shape(data: 2), random.Next(2) == 0 ? WorkloadKind.Training : WorkloadKind.Serving, random.Next(4));
            var seen = new List<GangMemberReport>();
            for (int step = 0; step < 120; step++)
            {
                now += TimeSpan.FromSeconds(random.Next(5) == 0 ? random.Next(120) : 0.1);
                var happened = RandomEvent(random, gang, seen);
                var (next, effects) = GangCoordinator.Apply(gang, happened, now, Timeouts);
                Check(gang, next, effects, happened, $"seed {seed}, step {step}, {happened}");
                gang = next;
            }
        }
    }

    private static void Check(GangState before, GangState after, IReadOnlyList<GangEffect> effects, GangEvent happened, string where)
    {
        Assert.True(!before.IsTerminal || ReferenceEquals(before, after), $"{where}: a final stage changed to {after.Stage}");
        Assert.True((before.Attempt?.Number ?? 0) <= (after.Attempt?.Number ?? 0), $"{where}: the attempt went back");
        Assert.True(after.IsActive || after.Attempt is null or { IsReleased: true }, $"{where}: {after.Stage} with devices held");
        Assert.True(effects.Count(effect => effect is GangEffect.Finished) == (!before.IsTerminal && after.IsTerminal ? 1 : 0), $"{where}: finished at the wrong time");
        Assert.True(after.CountedRestarts <= after.MaxRestarts, $"{where}: {after.CountedRestarts} restarts of {after.MaxRestarts}");
        if (after.Attempt?.Number > (before.Attempt?.Number ?? 0))
        {
            Assert.True(before.Stage == GangStage.Queued && happened is GangEvent.Placed, $"{where}: an attempt began out of {before.Stage}");
            Assert.True(after.Attempt.ResumeFrom == before.LatestCheckpoint?.Directory, $"{where}: resumes from the wrong checkpoint");
        }
        else if (before.Attempt is not null && after.Attempt is not null)
        {
            foreach (var (old, @new) in before.Attempt.Members.Zip(after.Attempt.Members))
            {
                Assert.True(@new.Phase >= old.Phase || old.Phase is null, $"{where}: {old.Node} went back to {@new.Phase}");
                Assert.True(@new.Released || !old.Released, $"{where}: {old.Node} holds devices again");
            }
        }

        if (after.Stage == GangStage.Succeeded && before.Stage != GangStage.Succeeded)
        {
            Assert.True(after.Kind == WorkloadKind.Training, $"{where}: a replica succeeded");
            Assert.True(after.Attempt!.Outcome == StopOutcome.Succeed, $"{where}: succeeded by {after.Attempt.Outcome}");
        }

        foreach (var assignment in GangCoordinator.Assignments(after, 1, Timeouts).Where(assignment => assignment.Phase == GangPhase.Start))
        {
            Assert.True(after.Attempt!.Members.All(member => member.Phase >= MemberPhase.Prepared), $"{where}: started a partial gang");
        }
    }

    private static GangEvent RandomEvent(Random random, GangState gang, List<GangMemberReport> seen)
    {
        string node = $"n{random.Next(2)}";
        switch (random.Next(20))
        {
            case 0: return new GangEvent.NodeExpired(node);
            case 1: return new GangEvent.NodeGone(node);
            case 2: return new GangEvent.MemberForgotten(node);
            case 3: return random.Next(6) == 0 ? new GangEvent.CancelRequested() : new GangEvent.Tick();
            case 4: return random.Next(3) == 0 ? new GangEvent.PauseRequested() : new GangEvent.ResumeRequested();
            case 5: return new GangEvent.YieldRequested("test");
            case 6:
                int step = random.Next(1, 50);
                return new GangEvent.CheckpointWritten(random.Next(1, 4), step, $"c{step}", $"h{step}");
            case 7 when seen.Count > 0: return new GangEvent.MemberReported(seen[random.Next(seen.Count)]);
            case 8 or 9 or 10:
                return new GangEvent.Placed(
                    new GangPlacement("jobs/a", [new MemberPlacement("n0", [new RankPlacement(0, [0], 1000)]), new MemberPlacement("n1", [new RankPlacement(1, [0], 1000)])]), "t", null);
            default:
                var phase = gang.Attempt?.Members.FirstOrDefault(member => member.Node == node)?.Phase is { } reached && random.Next(4) > 0
                    ? (MemberPhase)Math.Min((int)reached + 1, (int)MemberPhase.Released)
                    : (MemberPhase)random.Next(6);
                var report = Given.Report(gang, node, phase, phase == MemberPhase.Failed ? Given.Failure(permanent: random.Next(10) == 0) : null, endpoint: phase == MemberPhase.Running ? "e" : null);
                seen.Add(report);
                return new GangEvent.MemberReported(report);
        }
    }
}
