using Platform.Core.Parallelism;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Simulation;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

public sealed class TopologyTests
{
    private static readonly string[] Levels = ["node", "block", "rack"];

    /// <summary>
    /// Every way to put the groups into nodes is tried. Where there is one, the cycle finds one too; it never spans more
    /// than the nearest of them, and never breaks a required level.
    /// </summary>
    [Fact]
    public void Finds_a_place_whenever_there_is_one_and_none_is_nearer()
    {
        int placed = 0, refused = 0;
        for (int seed = 1; seed <= 400; seed++)
        {
            var random = new SeededRandom((ulong)seed);
            var cluster = Cluster(random);
            var shape = Given.Shape(tensor: 1 + random.Below(2), pipeline: 1 + random.Below(3), data: 1 + random.Below(2), kind: "cuda") with
            {
                PipelineTopology = random.Below(2) == 0 ? Levels[random.Below(3)] : null,
                DataTopology = random.Below(3) == 0 ? Levels[random.Below(3)] : null,
            };
            int best = Exhaustive(cluster, shape);
            var plan = SchedulingCycle.Decide(cluster, [Given.Waiting("jobs/a", shape)], Given.Noon);
            if (best < 0)
            {
                Assert.True(plan.Placed.Count == 0, $"seed {seed}: placed what cannot be placed");
                refused++;
                continue;
            }

            Assert.True(plan.Placed.Count == 1, $"seed {seed}: found no place for {shape}");
            int[] nodes = NodesOf(plan.Placed[0], cluster, shape.Mesh.WorldSize);
            Assert.True(Holds(cluster, shape, [.. Enumerable.Range(0, shape.Mesh.WorldSize / shape.Mesh.Tensor).Select(group => nodes[group * shape.Mesh.Tensor])]), $"seed {seed}: a required level is broken");
            Assert.True(Enumerable.Range(0, nodes.Length).All(rank => nodes[rank] == nodes[rank / shape.Mesh.Tensor * shape.Mesh.Tensor]), $"seed {seed}: a tensor group is torn");
            Assert.True(Span(cluster, nodes) == best, $"seed {seed}: spans level {Span(cluster, nodes)} instead of {best}");
            placed++;
        }

        Assert.True(placed > 100 && refused > 30, $"{placed} placed, {refused} refused: the cases say too little");
    }

    [Fact]
    public void Stages_of_one_replica_stay_in_a_block_while_replicas_may_be_apart()
    {
        var cluster = Given.Cluster(
            Given.Node("n0", 2, block: "b0"), Given.Node("n1", 2, block: "b1"), Given.Node("n2", 2, block: "b0"), Given.Node("n3", 2, block: "b1"));
        var shape = Given.Shape(tensor: 2, pipeline: 2, data: 2) with { PipelineTopology = "block" };

        var placed = Assert.Single(SchedulingCycle.Decide(cluster, [Given.Waiting("jobs/a", shape)], Given.Noon).Placed);

        foreach (var group in shape.Mesh.Groups(MeshAxis.Pipeline))
        {
            Assert.Single(group.Select(rank => cluster.Nodes.Single(node => placed.Members.Any(member => member.Node == node.Name && member.Ranks.Any(r => r.Rank == rank))).Topology["block"]).Distinct());
        }
    }

    [Fact]
    public void Ranks_that_follow_each_other_are_on_nodes_that_are_near_each_other()
    {
        // Names alternate between racks; the order of ranks must not.
        var cluster = Given.Cluster(
            Labelled("n0", "r0"), Labelled("n1", "r1"), Labelled("n2", "r0"), Labelled("n3", "r1"));

        var placed = Assert.Single(SchedulingCycle.Decide(cluster, [Given.Waiting("jobs/a", Given.Shape(tensor: 2, data: 4))], Given.Noon).Placed);

        Assert.Equal(["n0", "n2", "n1", "n3"], placed.Members.Select(member => member.Node));
    }

    private static NodeSnapshot Labelled(string name, string rack) =>
        Given.Node(name, 2) with { Topology = new Dictionary<string, string> { ["rack"] = rack } };

    private static ClusterSnapshot Cluster(SeededRandom random) => Given.Cluster([.. Enumerable.Range(0, 4 + random.Below(2)).Select(index =>
    {
        int rack = random.Below(2);
        return Given.Node($"n{index}", 1 + random.Below(4), kind: "cuda") with
        {
            Topology = new Dictionary<string, string> { ["rack"] = $"r{rack}", ["block"] = $"r{rack}b{random.Below(2)}" },
        };
    })]);

    /// <summary>The narrowest level that holds the gang in any allowed way; -1 when there is none.</summary>
    private static int Exhaustive(ClusterSnapshot cluster, GangShape shape)
    {
        int groups = shape.Mesh.WorldSize / shape.Mesh.Tensor, best = int.MaxValue;
        int[] capacity = [.. cluster.Nodes.Select(node => node.Devices.Count / shape.Mesh.Tensor)];
        Try([], capacity);
        return best == int.MaxValue ? -1 : best;

        void Try(int[] nodes, int[] left)
        {
            if (nodes.Length == groups)
            {
                best = Holds(cluster, shape, nodes) ? Math.Min(best, Span(cluster, nodes)) : best;
                return;
            }

            for (int node = 0; node < left.Length; node++)
            {
                if (left[node] > 0)
                {
                    Try([.. nodes, node], [.. left.Select((free, index) => index == node ? free - 1 : free)]);
                }
            }
        }
    }

    /// <summary>Whether groups on these nodes keep the required levels.</summary>
    private static bool Holds(ClusterSnapshot cluster, GangShape shape, int[] nodes)
    {
        int data = shape.Mesh.Data, pipeline = shape.Mesh.Pipeline;
        return (shape.DataTopology is not { } dataLevel || Enumerable.Range(0, pipeline).All(stage =>
                Near(cluster, dataLevel, Enumerable.Range(0, data).Select(replica => nodes[replica + (data * stage)]))))
            && (shape.PipelineTopology is not { } pipelineLevel || Enumerable.Range(0, data).All(replica =>
                Near(cluster, pipelineLevel, Enumerable.Range(0, pipeline).Select(stage => nodes[replica + (data * stage)]))));
    }

    private static bool Near(ClusterSnapshot cluster, string level, IEnumerable<int> nodes) =>
        nodes.Select(node => level == "node" ? cluster.Nodes[node].Name : cluster.Nodes[node].Topology[level]).Distinct().Count() == 1;

    private static int Span(ClusterSnapshot cluster, int[] nodes)
    {
        for (int level = 0; level < Levels.Length; level++)
        {
            if (Near(cluster, Levels[level], nodes))
            {
                return level;
            }
        }

        return Levels.Length;
    }

    private static int[] NodesOf(GangPlacement placement, ClusterSnapshot cluster, int ranks)
    {
        int[] nodes = new int[ranks];
        foreach (var member in placement.Members)
        {
            foreach (var rank in member.Ranks)
            {
                nodes[rank.Rank] = cluster.Nodes.ToList().FindIndex(node => node.Name == member.Node);
            }
        }

        return nodes;
    }
}
