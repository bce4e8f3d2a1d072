using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

/// <summary>Elastic gangs: the widest of their widths that fits.</summary>
public sealed class ElasticPlacementTests
{
    private static readonly GangShape Elastic = Given.Shape(tensor: 2, data: 4) with { NarrowerData = [2, 1] };

    [Theory]
    [InlineData(8, 8)]
    [InlineData(7, 4)]
    [InlineData(4, 4)]
    [InlineData(3, 2)]
    public void Takes_the_widest_width_that_fits(int devices, int ranks)
    {
        var plan = SchedulingCycle.Decide(Given.Cluster(Given.Node("n0", devices)), [Given.Waiting("jobs/a", Elastic)], Given.Noon);

        Assert.Equal(Enumerable.Range(0, ranks), Assert.Single(plan.Placed).Members.SelectMany(member => member.Ranks).Select(rank => rank.Rank));
    }

    [Fact]
    public void Waits_when_not_even_the_narrowest_fits_and_says_what_is_needed_at_least()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 1), Given.Node("n1", 8, freeMilli: 0)), [Given.Waiting("jobs/a", Elastic)], Given.Noon);

        Assert.Empty(plan.Placed);
        Assert.StartsWith("It needs 2 cpu devices", Assert.Single(plan.Deferred).Reason.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Is_feasible_when_its_narrowest_width_is()
    {
        Assert.Null(Feasibility.Check(Given.Cluster(Given.Node("n0", 2)), Elastic));
        Assert.NotNull(Feasibility.Check(Given.Cluster(Given.Node("n0", 1)), Elastic));
    }

    [Fact]
    public void Goes_on_narrower_from_its_checkpoint_when_a_node_is_lost()
    {
        var (options, now) = (new ControlOptions(), Given.Noon);
        var plane = new ControlPlane(new ControlRecord([], [], [], []), options, 1, () => "token", _ => null, now);
        Renew("n0");
        Renew("n1");
        plane.Submit(Given.Gang("jobs/a", Elastic));
        plane.Settle(now);
        Assert.Equal(8, Gang().Attempt?.WorldSize);
        foreach (var phase in new[] { MemberPhase.Prepared, MemberPhase.Running })
        {
            plane.Report(Given.Report(Gang(), "n0", phase), now);
            plane.Report(Given.Report(Gang(), "n1", phase), now);
        }

        plane.Apply("jobs/a", new GangEvent.CheckpointWritten(1, 10, "jobs/a/1/00000010", "hash"), now);
        while (Gang().Attempt?.Number == 1)
        {
            // n1 is silent; n0 does what it is told.
            now += TimeSpan.FromSeconds(1);
            Renew("n0");
            if (Gang().Stage == GangStage.Stopping)
                plane.Report(Given.Report(Gang(), "n0", MemberPhase.Released), now);
            plane.Tick(now);
            Assert.True(now < Given.Noon.AddMinutes(2), Gang().StageReason);
            Assert.Empty(Invariants.Check(plane.Gangs, plane.Nodes, now, options));
        }

        var wanted = Assert.Single(GangCoordinator.Assignments(Gang(), 1, options.Gangs));
        Assert.Equal(("n0", 4, "jobs/a/1/00000010"), (wanted.Node, wanted.WorldSize, wanted.ResumeFrom));
        Assert.Contains("at a data-parallel width of 2 of 4", Gang().StageReason, StringComparison.Ordinal);

        GangState Gang() => plane.Find("jobs/a") ?? throw new InvalidOperationException("The gang is gone.");
        void Renew(string node) => plane.Renew(node, "a", "", Given.Inventory(node, 4), [], now);
    }
}
