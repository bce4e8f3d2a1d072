using Platform.Scheduling.Capacity;
using Platform.Scheduling.Cycle;
using Xunit;

namespace Platform.Scheduling.Tests.Capacity;

public sealed class CapacityControllerTests
{
    private static readonly CapacityOptions Options = new()
    {
        Groups = [new NodeGroup { Name = "burst", Provider = "test", MaxNodes = 4, Devices = 4, MemoryBytes = 64L << 30, DeviceMemoryBytes = 16L << 30 }],
        AskLease = TimeSpan.FromSeconds(30),
        IdleDelay = TimeSpan.FromSeconds(60),
        BackoffBase = TimeSpan.FromSeconds(10),
        BackoffLimit = TimeSpan.FromSeconds(80),
        ConsolidationDelay = TimeSpan.FromSeconds(20),
    };

    [Fact]
    public void Asks_for_the_fewest_nodes_with_which_a_whole_gang_fits_and_lets_them_go_after_it()
    {
        var world = new CapacityWorld(Options);
        world.Submit("jobs/a", Given.Shape(data: 6));
        world.Step();
        Assert.Equal((2, 2), (world.Asked, world.Of(ManagedNodePhase.Asked)));

        world.Step(5);
        Assert.Equal(["jobs/a"], world.Running);
        world.End("jobs/a");
        world.Step(50);
        Assert.Equal(2, world.Existing.Count);
        world.Step(20);
        Assert.Empty(world.State.Nodes);
        Assert.Empty(world.Existing);
    }

    [Fact]
    public void Asks_for_nothing_when_the_whole_gang_would_not_fit()
    {
        var world = new CapacityWorld(Options);
        world.Submit("jobs/huge", Given.Shape(data: 17));
        world.Submit("jobs/wide", Given.Shape(tensor: 5));
        world.Step(20);

        Assert.Equal(0, world.Asked);
        Assert.Contains("with which the whole gang does not fit", Assert.Single(world.Explain("jobs/huge")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Gives_up_nodes_that_do_not_join_and_asks_again_after_longer_and_longer_waits()
    {
        var world = new CapacityWorld(Options) { JoinsAfter = _ => null };
        world.Submit("jobs/a", Given.Shape(data: 8));
        world.Step(29);
        Assert.Equal(2, world.Asked);
        Assert.StartsWith("Waiting for 2 nodes of group burst from provider test, asked 28 s ago.", Assert.Single(world.Explain("jobs/a")).Message, StringComparison.Ordinal);
        world.Step(5);
        Assert.Equal((2, 0), (world.Asked, world.Existing.Count));
        Assert.Contains("did not join within 30 s); it is asked again in", Assert.Single(world.Explain("jobs/a")).Message, StringComparison.Ordinal);

        world.Step(10);
        Assert.Equal(4, world.Asked);

        // 30 s each for nodes that do not come, and 10, 20, 40, 80, 80, ... s between them.
        world.Step(600 - 44);
        Assert.InRange(world.Asked, 10, 14);
    }

    [Fact]
    public void Asks_only_for_the_rest_when_a_provider_gives_fewer()
    {
        var world = new CapacityWorld(Options) { JoinsAfter = name => name == "burst-3" ? null : 1 };
        world.Submit("jobs/a", Given.Shape(data: 12));
        world.Step(29);
        Assert.Equal((3, 2), (world.Asked, world.Joined.Count));
        world.Step(20);

        Assert.Equal((4, "jobs/a"), (world.Asked, Assert.Single(world.Running)));
    }

    [Fact]
    public void Lets_nodes_go_that_come_after_their_gang_was_cancelled()
    {
        var world = new CapacityWorld(Options) { JoinsAfter = _ => 20 };
        world.Submit("jobs/a", Given.Shape(data: 16));
        world.Step(5);
        world.End("jobs/a");
        world.Step(30);
        Assert.Equal(4, world.Joined.Count);
        world.Step(60);

        Assert.Equal((4, 0), (world.Asked, world.Existing.Count));
    }

    [Fact]
    public void Gives_nodes_that_are_on_their_way_to_whoever_needs_them()
    {
        var world = new CapacityWorld(Options) { JoinsAfter = _ => 10 };
        world.Submit("jobs/a", Given.Shape(data: 8));
        world.Step(2);
        world.End("jobs/a");
        world.Submit("jobs/b", Given.Shape(data: 8));
        world.Step(12);

        Assert.Equal((2, "jobs/b"), (world.Asked, Assert.Single(world.Running)));
    }

    [Fact]
    public void Rests_once_for_a_batch_that_is_refused()
    {
        bool refuses = true;
        var world = new CapacityWorld(Options) { Refuses = _ => refuses };
        world.Submit("jobs/a", Given.Shape(data: 16));
        world.Step(3);
        Assert.Equal(1, world.State.Backoffs["burst"].Failures);
        Assert.Contains("(No quota); it is asked again in", Assert.Single(world.Explain("jobs/a")).Message, StringComparison.Ordinal);

        refuses = false;
        world.Step(15);
        Assert.Empty(world.State.Backoffs);
        Assert.Equal(["jobs/a"], world.Running);
    }

    [Fact]
    public void Creates_a_cluster_for_one_job_and_removes_it_with_the_job()
    {
        var world = new CapacityWorld(Options);
        world.Submit("jobs/own", Given.Shape(data: 3) with { Cluster = "jobs/own" });
        world.Submit("jobs/other", Given.Shape());
        world.Step(6);

        Assert.Equal(["", "jobs/own"], world.State.Nodes.Select(node => node.Cluster).Order());
        Assert.Equal(2, world.Running.Count);
        world.End("jobs/own");
        world.Step(4);
        Assert.Equal("", Assert.Single(world.State.Nodes).Cluster);
    }

    [Fact]
    public void Keeps_what_a_group_keeps_anyway()
    {
        var world = new CapacityWorld(Options with { Groups = [Options.Groups[0] with { MinNodes = 2 }] });
        world.Step(300);
        Assert.Equal((2, 2), (world.Asked, world.Joined.Count));
    }

    [Fact]
    public void Moves_gangs_together_when_that_makes_a_node_superfluous()
    {
        var world = new CapacityWorld(Options) { Movable = true };
        world.Submit("jobs/a", Given.Shape(data: 3));
        world.Submit("jobs/b", Given.Shape(data: 3));
        world.Step(4);
        world.Submit("jobs/c", Given.Shape(data: 1));
        world.Step(4);
        world.End(world.Running.Contains("jobs/a") ? "jobs/a" : "jobs/b");
        world.Step(40);

        Assert.Equal((2, 2), (world.Asked, world.Running.Count));
        Assert.Single(world.State.Nodes);
    }

    [Fact]
    public void Knows_the_largest_cluster_that_there_could_be()
    {
        var present = Given.Cluster(Given.Node("fixed", 2), Options.Groups[0].Node("burst-1", ""));
        var largest = CapacityForecast.Largest(present, Options, null);

        Assert.Equal(18, largest.Nodes.Sum(node => node.Devices.Count));
        Assert.Null(Feasibility.Check(largest, Given.Shape(data: 18)));
        Assert.Contains("has 18 on 5 nodes: 1 of its 19 ranks find no place", Feasibility.Check(largest, Given.Shape(data: 19))?.Message, StringComparison.Ordinal);

        var own = Given.Shape(data: 17) with { Cluster = "jobs/own" };
        Assert.Contains("has 16 on 4 nodes", Feasibility.Check(CapacityForecast.Largest(present, Options, "jobs/own"), own)?.Message, StringComparison.Ordinal);
    }
}
