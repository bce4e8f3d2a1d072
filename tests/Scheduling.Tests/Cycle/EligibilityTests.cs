using Platform.Scheduling.Cycle;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

/// <summary>Spot nodes, node groups and clusters of a job's own.</summary>
public sealed class EligibilityTests
{
    private static readonly ClusterSnapshot Cluster = Given.Cluster(
        Given.Node("own", 4) with { Cluster = "jobs/mine", Group = "burst" },
        Given.Node("plain", 4),
        Given.Node("spot", 4) with { Spot = true, Group = "cheap" });

    [Theory]
    [InlineData(false, null, null, "plain")]
    [InlineData(true, "cheap", null, "spot")]
    [InlineData(false, null, "jobs/mine", "own")]
    [InlineData(false, "cheap", null, null)]
    [InlineData(false, null, "jobs/other", null)]
    public void Uses_only_nodes_that_the_job_may_use(bool spot, string? group, string? cluster, string? expected)
    {
        var shape = Given.Shape(data: 4) with { AllowsSpot = spot, NodeGroup = group, Cluster = cluster };
        var plan = SchedulingCycle.Decide(Cluster, [Given.Waiting("jobs/a", shape)], Given.Noon);

        Assert.Equal(expected, plan.Placed.SelectMany(place => place.Members).Select(member => member.Node).SingleOrDefault());
    }

    [Fact]
    public void Says_which_nodes_do_not_count_and_why()
    {
        var shape = Given.Shape(data: 5);
        string refused = Feasibility.Check(Cluster, shape)?.Message ?? "";
        string waits = Assert.Single(SchedulingCycle.Decide(Cluster, [Given.Waiting("jobs/a", shape)], Given.Noon).Deferred).Reason.Message;

        Assert.Contains("the whole cluster has 4 on 1 nodes: 1 of its 5 ranks find no place", refused, StringComparison.Ordinal);
        Assert.All([refused, waits], message => Assert.EndsWith(
            "Left out: 1 node of other jobs' own clusters; 1 spot node, which resources.spot does not allow.", message, StringComparison.Ordinal));
        Assert.Null(Feasibility.Check(Cluster, shape with { AllowsSpot = true }));
    }
}
