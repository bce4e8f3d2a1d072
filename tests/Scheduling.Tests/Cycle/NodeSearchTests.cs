using Platform.Scheduling.Cycle;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Simulation;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

/// <summary>The search by counts beside the one that looks at every node.</summary>
public sealed class NodeSearchTests
{
    private static readonly string[] Levels = ["node", "block", "rack", "zone"];

    /// <summary>
    /// Gangs come and go on random clusters; every one gets the very devices that the straightforward search gives it, and is
    /// refused exactly when that refuses it.
    /// </summary>
    [Fact]
    public void Finds_the_very_places_that_a_look_at_every_node_finds()
    {
        int placed = 0, refused = 0, spread = 0;
        for (int seed = 1; seed <= 250; seed++)
        {
            var random = new SeededRandom((ulong)seed);
            var cluster = Cluster(random);
            string policy = PlacementPolicies.Names[random.Below(4)];
            var mix = WorkloadMix.Of([Shape(random).Rank, Shape(random).Rank]);
            var ledger = new DeviceLedger(cluster, nodes => PlacementPolicies.Create(policy, nodes, mix));
            var held = new List<(GangPlacement Placement, RankRequest Rank)>();
            for (int turn = 0; turn < 40; turn++)
            {
                var shape = Shape(random);
                var layout = new GroupLayout(shape);
                string text = Text(new BinSearch(layout, ledger.Policy).Place(ledger.Nodes));
                var found = shape.TensorTopology == "node"
                    ? new NodeSearch(layout, ledger).Place() is { } members ? new GangPlacement($"jobs/{turn}", members) : null
                    : GangPlacer.TryPlace(Given.Waiting($"jobs/{turn}", shape), ledger);

                Assert.True(text == Text(found?.Members), $"seed {seed}, turn {turn}, {policy}, {shape}: expected {text}, found {Text(found?.Members)}");
                if (found is null)
                {
                    refused++;
                }
                else
                {
                    placed++;
                    spread += found.Members.Count > 1 ? 1 : 0;
                    ledger.Take(found, shape.Rank);
                    held.Add((found, shape.Rank));
                }

                if (held.Count > 0 && random.Below(3) == 0)
                {
                    int at = random.Below(held.Count);
                    foreach (var places in ledger.PlacesOf(held[at].Placement))
                    {
                        ledger.Nodes[places.Node].Release(held[at].Rank, places.Positions, places.Ranks);
                    }

                    held.RemoveAt(at);
                }
            }
        }

        Assert.True(placed > 2000 && refused > 1000 && spread > 500, $"{placed} placed ({spread} on several nodes), {refused} refused: the cases say too little");
    }

    /// <summary>What is withheld or freed for a question is as before once the question is answered.</summary>
    [Fact]
    public void A_question_leaves_no_trace()
    {
        for (int seed = 1; seed <= 100; seed++)
        {
            var random = new SeededRandom((ulong)seed);
            var cluster = Cluster(random);
            var (asked, fresh) = (new DeviceLedger(cluster), new DeviceLedger(cluster));
            for (int turn = 0; turn < 20; turn++)
            {
                var (shape, other) = (Shape(random), Shape(random));
                if (GangPlacer.TryPlace(Given.Waiting("jobs/held", other), asked) is not { } held)
                {
                    continue;
                }

                asked.Take(held, other.Rank);
                fresh.Take(held, other.Rank);
                using (var scope = new LedgerScope(asked))
                {
                    scope.Withhold(held, shape.Rank with { Devices = other.Rank.Devices, MemoryBytes = 0 });
                    scope.Free(held, other.Rank);
                    GangPlacer.TryPlace(Given.Waiting("jobs/a", shape) with { AvoidNodes = ["n0", "n1", "unknown"] }, asked);
                }

                Assert.Equal(
                    Text(GangPlacer.TryPlace(Given.Waiting("jobs/a", shape), fresh)?.Members), Text(GangPlacer.TryPlace(Given.Waiting("jobs/a", shape), asked)?.Members));
                for (int node = 0; node < asked.Nodes.Count; node++)
                {
                    Assert.Equal(fresh.Nodes[node].FreeMilli.ToArray(), asked.Nodes[node].FreeMilli.ToArray());
                    Assert.Equal(fresh.Nodes[node].FreeMemoryBytes, asked.Nodes[node].FreeMemoryBytes);
                }
            }
        }
    }

    internal static string Text(IReadOnlyList<MemberPlacement>? members) => members is null ? "nowhere" : string.Join("; ", members.Select(member =>
        $"{member.Node}: {string.Join(" ", member.Ranks.Select(rank => $"{rank.Rank}@{string.Join(",", rank.Devices)}/{rank.DeviceMilli}"))}"));

    /// <summary>Labels nest, mostly; some nodes lack some, some are out of service, devices are shared and of two kinds.</summary>
    internal static ClusterSnapshot Cluster(SeededRandom random)
    {
        bool nested = random.Below(4) > 0;
        int nodes = 2 + random.Below(random.Below(3) == 0 ? 150 : 24);
        return Given.Cluster([.. Enumerable.Range(0, nodes).Select(index =>
        {
            int zone = random.Below(2), rack = random.Below(3), block = random.Below(3);
            var topology = new Dictionary<string, string>();
            if (random.Below(8) > 0)
            {
                topology["zone"] = $"z{zone}";
            }

            if (random.Below(8) > 0)
            {
                topology["rack"] = nested ? $"z{zone}r{rack}" : $"r{rack}";
            }

            if (random.Below(8) > 0)
            {
                topology["block"] = nested ? $"z{zone}r{rack}b{block}" : $"b{block}";
            }

            var node = Given.Node($"n{index}", 1 + random.Below(8), kind: random.Below(5) == 0 ? "cpu" : "cuda", schedulable: random.Below(12) > 0);
            return node with
            {
                Topology = topology,
                Devices = [.. node.Devices.Select(device => device with
                {
                    FreeMilli = random.Below(4) switch { 0 => 0, 1 => random.Below(1001), _ => 1000 }, Healthy = random.Below(30) > 0,
                })],
            };
        })]);
    }

    internal static GangShape Shape(SeededRandom random) => Given.Shape(
        tensor: 1 + random.Below(4), pipeline: 1 + random.Below(3), data: 1 + random.Below(6),
        milli: random.Below(3) == 0 ? 250 : 1000, kind: random.Below(6) == 0 ? "cpu" : "cuda") with
    {
        DevicesPerRank = random.Below(5) == 0 ? 2 : 1,
        MemoryBytes = random.Below(5) == 0 ? 12L << 30 : null,
        TensorTopology = random.Below(8) == 0 ? Levels[1 + random.Below(3)] : "node",
        DataTopology = random.Below(4) == 0 ? Levels[random.Below(4)] : null,
        PipelineTopology = random.Below(3) == 0 ? Levels[random.Below(4)] : null,
    };
}
