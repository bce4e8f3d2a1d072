using Platform.Scheduling.Cycle;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

public sealed class SchedulingCycleTests
{
    private static readonly GangShape EightRanks = Given.Shape(tensor: 2, pipeline: 2, data: 2);

    [Fact]
    public void Places_a_gang_over_two_nodes_with_tensor_groups_whole_and_neighbouring_ranks_together()
    {
        var plan = SchedulingCycle.Decide(Given.Cluster(Given.Node("n0", 4), Given.Node("n1", 4)), [Given.Waiting("jobs/a", EightRanks)], Given.Noon);

        var placed = Assert.Single(plan.Placed);
        Assert.Equal(["n0", "n1"], placed.Members.Select(member => member.Node));
        Assert.Equal([0, 1, 2, 3], placed.Members[0].Ranks.Select(rank => rank.Rank));
        Assert.Equal([4, 5, 6, 7], placed.Members[1].Ranks.Select(rank => rank.Rank));
        Assert.Equal([0, 1, 2, 3], placed.Members[1].Ranks.SelectMany(rank => rank.Devices).Order());
    }

    [Fact]
    public void Packs_a_small_gang_into_the_tightest_node_that_holds_it_whole()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 8), Given.Node("n1", 2), Given.Node("n2", 4)), [Given.Waiting("jobs/a", Given.Shape(tensor: 2))], Given.Noon);

        Assert.Equal("n1", Assert.Single(plan.Placed[0].Members).Node);
    }

    [Fact]
    public void Prefers_nodes_of_one_block()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 4, block: "b0"), Given.Node("n1", 4, block: "b1"), Given.Node("n2", 4, block: "b1")),
            [Given.Waiting("jobs/a", EightRanks)], Given.Noon);

        Assert.Equal(["n1", "n2"], plan.Placed[0].Members.Select(member => member.Node));
    }

    [Fact]
    public void Never_places_part_of_a_gang_and_says_how_many_devices_are_missing()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 4), Given.Node("n1", 4, freeMilli: 0)), [Given.Waiting("jobs/a", EightRanks)], Given.Noon);

        Assert.Empty(plan.Placed);
        var deferral = Assert.Single(plan.Deferred);
        Assert.Equal(PendingCode.Capacity, deferral.Reason.Code);
        Assert.Contains("4 of 8 are free, 4 too few", deferral.Reason.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Goes_by_priority_then_by_time_and_keeps_later_gangs_off_the_devices_of_the_first_in_line()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 4), Given.Node("n1", 4, freeMilli: 0)),
            [
                Given.Waiting("jobs/small", Given.Shape(), submitted: 2),
                Given.Waiting("jobs/large", EightRanks, submitted: 1),
                Given.Waiting("jobs/urgent", Given.Shape(), priority: 200, submitted: 3),
            ],
            Given.Noon);

        Assert.Equal(["jobs/urgent"], plan.Placed.Select(placed => placed.Gang));
        Assert.Equal([(PendingCode.Capacity, 2), (PendingCode.Priority, 3)], plan.Deferred.Select(deferral => (deferral.Reason.Code, deferral.Position)));
    }

    [Fact]
    public void A_gang_that_the_nodes_in_service_cannot_hold_holds_nobody_up()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 4), Given.Node("n1", 4, schedulable: false)),
            [Given.Waiting("jobs/large", EightRanks), Given.Waiting("jobs/small", Given.Shape(), submitted: 1)], Given.Noon);

        Assert.Equal(["jobs/small"], plan.Placed.Select(placed => placed.Gang));
        Assert.Equal(PendingCode.NodeHealth, plan.Deferred[0].Reason.Code);
        Assert.Contains("n1 (lost)", plan.Deferred[0].Reason.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Says_that_free_devices_are_too_far_apart_for_a_tensor_group()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(
                Given.Node("n0", 4) with { Devices = [.. Given.Node("n0", 4).Devices.Select((device, i) => device with { FreeMilli = i < 2 ? 1000 : 0 })] },
                Given.Node("n1", 4) with { Devices = [.. Given.Node("n1", 4).Devices.Select((device, i) => device with { FreeMilli = i < 2 ? 1000 : 0 })] }),
            [Given.Waiting("jobs/a", Given.Shape(tensor: 4))], Given.Noon);

        Assert.Equal(PendingCode.Topology, plan.Deferred[0].Reason.Code);
    }

    [Fact]
    public void Says_that_free_shares_are_too_small()
    {
        var plan = SchedulingCycle.Decide(Given.Cluster(Given.Node("n0", 4, freeMilli: 500)), [Given.Waiting("jobs/a", Given.Shape())], Given.Noon);

        Assert.Equal(PendingCode.Fragmentation, plan.Deferred[0].Reason.Code);
    }

    [Fact]
    public void Waits_out_the_backoff_of_a_failed_gang()
    {
        var plan = SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 4)), [Given.Waiting("jobs/a", Given.Shape()) with { NotBefore = Given.Noon.AddSeconds(3) }], Given.Noon);

        Assert.Equal(PendingCode.Backoff, plan.Deferred[0].Reason.Code);
    }

    [Fact]
    public void Avoids_the_node_of_the_last_failure_when_another_can_hold_the_gang_and_uses_it_when_none_can()
    {
        var gang = Given.Waiting("jobs/a", Given.Shape(tensor: 2)) with { AvoidNodes = ["n0"] };

        Assert.Equal("n1", SchedulingCycle.Decide(Given.Cluster(Given.Node("n0", 2), Given.Node("n1", 8)), [gang], Given.Noon).Placed[0].Members[0].Node);
        Assert.Equal("n0", SchedulingCycle.Decide(Given.Cluster(Given.Node("n0", 2)), [gang], Given.Noon).Placed[0].Members[0].Node);
    }

    [Fact]
    public void Two_ranks_of_a_gang_share_a_cpu_device_but_never_a_gpu()
    {
        var halves = Given.Shape(data: 2, milli: 500);
        Assert.Single(SchedulingCycle.Decide(Given.Cluster(Given.Node("n0", 1)), [Given.Waiting("jobs/a", halves)], Given.Noon).Placed);
        Assert.Empty(SchedulingCycle.Decide(
            Given.Cluster(Given.Node("n0", 1, kind: "cuda")), [Given.Waiting("jobs/a", halves with { DeviceKind = "cuda" })], Given.Noon).Placed);
    }

    [Fact]
    public void Refuses_what_the_empty_cluster_cannot_hold_and_says_by_how_much()
    {
        var cluster = Given.Cluster(Given.Node("n0", 4, freeMilli: 0), Given.Node("n1", 4, schedulable: false));

        Assert.Null(Feasibility.Check(cluster, EightRanks));
        Assert.Contains("8 of its 16 ranks find no place", Feasibility.Check(cluster, Given.Shape(tensor: 2, pipeline: 2, data: 4))?.Message, StringComparison.Ordinal);
        Assert.Equal(PendingCode.Topology, Feasibility.Check(cluster, Given.Shape(tensor: 8))?.Code);
        Assert.Contains("no cuda device", Feasibility.Check(cluster, Given.Shape(kind: "cuda"))?.Message, StringComparison.Ordinal);
        Assert.Contains("32 GiB of device memory", Feasibility.Check(cluster, Given.Shape() with { DeviceMemoryBytes = 32L << 30 })?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Gives_no_device_away_twice_and_places_every_gang_whole()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            var cluster = RandomCluster(random);
            PendingGang[] waiting = [.. Enumerable.Range(0, random.Next(1, 12)).Select(i => RandomGang(random, i))];

            var plan = SchedulingCycle.Decide(cluster, waiting, Given.Noon);

            Assert.True(waiting.Length == plan.Placed.Count + plan.Deferred.Count, $"seed {seed}: a gang was forgotten");
            var free = cluster.Nodes.SelectMany(node => node.Devices.Select(device => ((node.Name, device.Index), device.FreeMilli))).ToDictionary();
            foreach (var placed in plan.Placed)
            {
                var shape = waiting.Single(gang => gang.Gang == placed.Gang).Shape;
                var ranks = placed.Members.SelectMany(member => member.Ranks.Select(rank => (member.Node, rank))).OrderBy(entry => entry.rank.Rank).ToList();
                Assert.True(ranks.Select(entry => entry.rank.Rank).SequenceEqual(Enumerable.Range(0, shape.Mesh.WorldSize)), $"seed {seed}: {placed.Gang} is not whole");
                foreach (var (node, rank) in ranks)
                {
                    Assert.True(cluster.Nodes.Single(each => each.Name == node).Schedulable, $"seed {seed}: {node} is out of service");
                    Assert.True(ranks[rank.Rank / shape.Mesh.Tensor * shape.Mesh.Tensor].Node == node, $"seed {seed}: a tensor group of {placed.Gang} spans nodes");
                    foreach (int device in rank.Devices)
                    {
                        free[(node, device)] -= rank.DeviceMilli;
                        Assert.True(free[(node, device)] >= 0, $"seed {seed}: device {device} of {node} is given away twice");
                    }
                }
            }
        }
    }

    private static ClusterSnapshot RandomCluster(Random random) => Given.Cluster([.. Enumerable.Range(0, random.Next(1, 6)).Select(n =>
    {
        var node = Given.Node($"n{n}", random.Next(1, 9), schedulable: random.Next(8) > 0, block: random.Next(2) == 0 ? $"b{random.Next(3)}" : null);
        return node with { Devices = [.. node.Devices.Select(device => device with { FreeMilli = random.Next(3) switch { 0 => random.Next(1001), 1 => 0, _ => 1000 } })] };
    })]);

    private static PendingGang RandomGang(Random random, int n) => Given.Waiting(
        $"jobs/{n}", Given.Shape(random.Next(1, 5), random.Next(1, 3), random.Next(1, 3), random.Next(2) == 0 ? 1000 : random.Next(1, 1001)), random.Next(3), random.Next(5));
}
