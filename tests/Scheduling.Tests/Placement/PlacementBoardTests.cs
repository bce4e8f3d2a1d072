using Platform.Scheduling.Placement;
using Platform.Scheduling.Simulation;
using Xunit;

namespace Platform.Scheduling.Tests.Placement;

public sealed class PlacementBoardTests
{
    [Theory]
    [InlineData(PlacementPolicies.Fgd)]
    [InlineData(PlacementPolicies.BestFit)]
    [InlineData(PlacementPolicies.Foresight)]
    [InlineData(PlacementPolicies.Random)]
    public void Kept_costs_lead_to_the_same_places_as_computing_every_cost_anew(string policy)
    {
        for (int seed = 1; seed <= 20; seed++)
        {
            var random = new SeededRandom((ulong)seed);
            var requests = Enumerable.Range(0, 12).Select(_ => Request(random)).ToList();
            var mix = WorkloadMix.Of(requests);
            var (kept, anew) = (Nodes(seed), Nodes(seed));
            var board = new PlacementBoard(kept, PlacementPolicies.Create(policy, kept, mix), _ => 1);
            var held = new List<(RankRequest Request, int Node, int[] Positions)>();
            for (int turn = 0; turn < 200; turn++)
            {
                if (held.Count > 0 && random.Below(3) == 0)
                {
                    var (released, node, positions) = held[random.Below(held.Count)];
                    held.RemoveAll(entry => ReferenceEquals(entry.Positions, positions));
                    kept[node].Release(released, positions);
                    anew[node].Release(released, positions);
                    continue;
                }

                var request = requests[random.Below(requests.Count)];
                var found = board.TryTake(request, out int[] at);
                var expected = new PlacementBoard(anew, PlacementPolicies.Create(policy, anew, mix), _ => 1).TryTake(request, out int[] wanted);
                Assert.True(found?.Index == expected?.Index, $"seed {seed}, turn {turn}: {found?.Node.Name} instead of {expected?.Node.Name}");
                if (found is not null)
                {
                    Assert.Equal(wanted, at);
                    held.Add((request, found.Index, at));
                }

                Assert.All(kept, node => Assert.All(node.FreeMilli.ToArray(), free => Assert.InRange(free, 0, 1000)));
                Assert.All(kept, node => Assert.True(node.FreeCpuMilli >= 0 && node.FreeMemoryBytes >= 0, $"seed {seed}: {node.Node.Name} is overdrawn"));
            }
        }
    }

    [Fact]
    public void What_is_not_free_cannot_be_taken_and_what_was_not_taken_cannot_be_released()
    {
        var node = new NodeLedger(Given.Node("n0", 1, freeMilli: 400), 0);
        var half = new RankRequest { DeviceKind = "cpu", DeviceMilli = 500 };
        var most = new RankRequest { DeviceKind = "cpu", DeviceMilli = 700 };

        Assert.Throws<InvalidOperationException>(() => node.Take(half, [0]));
        Assert.Throws<InvalidOperationException>(() => node.Release(most, [0]));
    }

    [Fact]
    public void Foresight_keeps_a_whole_device_for_ranks_that_fill_it()
    {
        // Shares of 0.7 waste 0.3 wherever they go; whole ranks waste nothing; thirds fill what 0.7 leaves.
        var mix = WorkloadMix.OfCounts([(Share(1000), 50), (Share(700), 30), (Share(300), 20)]);
        var nodes = new[] { Given.Node("used", 2, kind: "cuda"), Given.Node("whole", 2, kind: "cuda") }.Select((node, index) => new NodeLedger(node, index)).ToList();
        nodes[0].Take(Share(700), [1]);
        var board = new PlacementBoard(nodes, new ForesightPolicy(mix), _ => 1);

        Assert.Equal("used", board.TryTake(Share(300), out int[] positions)?.Node.Name);
        Assert.Equal([1], positions);
    }

    [Fact]
    public void Foresight_sends_ranks_with_many_cores_where_cores_are_plenty()
    {
        var mix = WorkloadMix.OfCounts([(Cores(4000), 50), (Cores(20_000), 50)]);
        var poor = Given.Node("a-poor", 8, kind: "cuda") with { CpuMilli = 96_000, FreeCpuMilli = 96_000 };
        var rich = Given.Node("b-rich", 2, kind: "cuda") with { CpuMilli = 104_000, FreeCpuMilli = 104_000 };
        NodeLedger[] nodes = [new(poor, 0), new(rich, 1)];
        var board = new PlacementBoard(nodes, new ForesightPolicy(mix), _ => 1);

        Assert.Equal("b-rich", board.TryTake(Cores(20_000), out _)?.Node.Name);
        Assert.Equal("a-poor", board.TryTake(Cores(4000), out _)?.Node.Name);
    }

    private static RankRequest Share(int milli) => new() { DeviceKind = "cuda", DeviceMilli = milli };

    private static RankRequest Cores(int milli) => new() { DeviceKind = "cuda", CpuMilli = milli };

    private static RankRequest Request(SeededRandom random)
    {
        int devices = random.Below(4) == 0 ? 2 + random.Below(3) : random.Below(8) == 0 ? 0 : 1;
        return new RankRequest
        {
            DeviceKind = "cuda",
            Devices = devices,
            DeviceMilli = devices == 1 ? 100 * (1 + random.Below(10)) : 1000,
            CpuMilli = 1000 * random.Below(12),
            MemoryBytes = (long)random.Below(8) << 30,
        };
    }

    private static List<NodeLedger> Nodes(int seed) => [.. Enumerable.Range(0, 10).Select(index => new NodeLedger(
        Given.Node($"n{index}", 1 << ((index + seed) % 4), kind: "cuda") with { CpuMilli = 64_000, FreeCpuMilli = 64_000 }, index))];
}
