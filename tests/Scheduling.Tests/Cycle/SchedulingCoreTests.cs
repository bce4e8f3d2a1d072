using Platform.Scheduling.Cycle;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Queues;
using Platform.Scheduling.Simulation;
using Platform.Scheduling.Tests.Queues;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

/// <summary>A core that has seen other cycles beside one that sees its first.</summary>
public sealed class SchedulingCoreTests
{
    private static readonly string[] Names = ["a", "b", "c"];

    /// <summary>
    /// Gangs come, start, end, are asked to leave; nodes fill, empty, go out of service and come back, and some plans are never
    /// carried out. At every turn the plan is that of a new core, word for word.
    /// </summary>
    [Fact]
    public void Decides_what_a_core_without_memory_decides()
    {
        int placed = 0, reserved = 0, asked = 0, behind = 0;
        for (int seed = 1; seed <= 60; seed++)
        {
            var random = new SeededRandom((ulong)seed);
            var world = new World(random, NodeSearchTests.Cluster(random));
            var core = new SchedulingCore();
            for (int turn = 0; turn < 40; turn++)
            {
                world.Turn();
                var input = world.Input();
                var plan = core.Decide(input, world.Now);

                Assert.Equal($"seed {seed}, turn {turn}: {Text(SchedulingCycle.Decide(input, world.Now))}", $"seed {seed}, turn {turn}: {Text(plan)}");
                placed += plan.Placed.Count;
                reserved += plan.Deferred.Count(deferral => deferral.EstimatedStart is not null);
                asked += plan.Preempted.Count + plan.Narrowed.Count;
                behind += plan.Deferred.Count(deferral => deferral.Reason.Code == PendingCode.Priority);
                if (random.Below(5) > 0)
                {
                    world.Carry(plan);
                }
            }
        }

        Assert.True(placed > 600 && reserved > 200 && asked > 30 && behind > 200, $"{placed} placed, {reserved} reserved, {asked} asked, {behind} behind: the cases say too little");
    }

    [Fact]
    public void Starts_anew_after_a_cycle_that_was_not_finished()
    {
        var core = new SchedulingCore();
        var good = new CycleInput { Cluster = Given.Cluster(Given.Node("n0", 4)), Waiting = [Given.Waiting("jobs/a", Given.Shape())] };
        var twice = new RunningGang { Placement = new GangPlacement("jobs/b", []), Rank = Given.Shape().Rank };

        core.Decide(good, Given.Noon);
        Assert.ThrowsAny<ArgumentException>(() => core.Decide(good with { Running = [twice, twice] }, Given.Noon));

        Assert.Equal(Text(SchedulingCycle.Decide(good, Given.Noon)), Text(core.Decide(good, Given.Noon)));
    }

    private static string Text(CyclePlan plan) => string.Join("\n",
    [
        .. plan.Placed.Select(place => $"{place.Gang} {place.Borrows} {NodeSearchTests.Text(place.Members)}"),
        .. plan.Preempted.Select(room => $"{room.Gang} asks {string.Join(",", room.Victims)} {NodeSearchTests.Text(room.Placement.Members)}"),
        .. plan.Narrowed.Select(width => $"{width.Gang} narrows {string.Join(",", width.Resized.Select(each => $"{each.Gang} {each.From} {each.To}"))}"),
        .. plan.Widened.Select(width => $"{width.Gang} widens {width.From} {width.To} {NodeSearchTests.Text(width.Placement.Members)}"),
        .. plan.Deferred.Select(waits => $"{waits.Position} {waits.Gang} {waits.Reason.Code} {waits.Reason.Message} {string.Join(",", waits.Reason.Causes.Select(cause => cause.Message))} {waits.EstimatedStart:O}"),
    ]);

    /// <summary>A cluster whose rows are new objects only when they change.</summary>
    private sealed class World(SeededRandom random, ClusterSnapshot cluster)
    {
        private readonly NodeSnapshot[] nodes = [.. cluster.Nodes];
        private readonly List<PendingGang> waiting = [];
        private readonly List<RunningGang> running = [];
        private readonly QueueSpec[] queues =
        [
            QueueLedgerTests.Queue("all", null),
            .. Names.Select(name => QueueLedgerTests.Queue(name, "all", 4 + random.Below(40), random.Below(2) == 0 ? random.Below(20) : null, random.Below(2) == 0 ? random.Below(20) : null)),
        ];

        private readonly bool hasQuotas = random.Below(2) == 0;
        private readonly WorkloadMix mix = WorkloadMix.Of([NodeSearchTests.Shape(random).Rank]);
        private int named;

        public DateTimeOffset Now { get; private set; } = Given.Noon;

        public CycleInput Input() => new()
        {
            Cluster = new ClusterSnapshot([.. nodes]),
            Waiting = [.. waiting],
            Running = [.. running],
            Queues = hasQuotas ? queues : [],
            Mix = mix,
            Options = new CycleOptions { MinRuntime = TimeSpan.Zero, ElasticMinRuntime = TimeSpan.Zero },
        };

        public void Turn()
        {
            Now += TimeSpan.FromSeconds(random.Below(40));
            for (int more = random.Below(4); more > 0; more--)
            {
                var shape = NodeSearchTests.Shape(random);
                waiting.Insert(random.Below(waiting.Count + 1), new PendingGang
                {
                    Gang = $"jobs/{++named}",
                    Shape = shape.Mesh.Data > 1 && random.Below(3) == 0 ? shape with { NarrowerData = [1] } : shape,
                    Queue = Names[random.Below(3)],
                    Priority = random.Below(3) * 100,
                    SubmittedAt = Now,
                    ExpectedRuntime = random.Below(3) > 0 ? TimeSpan.FromSeconds(20 + (20 * random.Below(20))) : null,
                    NotBefore = random.Below(10) == 0 ? Now.AddSeconds(30) : null,
                    AvoidNodes = random.Below(10) == 0 ? ["n0", "n1"] : [],
                });
            }

            if (running.Count > 0 && random.Below(3) > 0)
            {
                End(running[random.Below(running.Count)], requeue: false);
            }

            if (random.Below(4) == 0)
            {
                int node = random.Below(nodes.Length);
                nodes[node] = nodes[node] with { Schedulable = !nodes[node].Schedulable, Condition = nodes[node].Schedulable ? "draining" : "" };
            }
        }

        public void Carry(CyclePlan plan)
        {
            foreach (var place in plan.Placed)
            {
                var gang = waiting.Single(each => each.Gang == place.Gang);
                waiting.Remove(gang);
                running.Add(new RunningGang
                {
                    Placement = place,
                    Rank = gang.Shape.Rank,
                    Queue = gang.Queue,
                    Priority = gang.Priority,
                    RunningSince = Now,
                    MayYield = true,
                    Borrows = place.Borrows,
                    ExpectedEnd = Now + gang.ExpectedRuntime,
                    Shape = gang.Shape,
                });
                Add(place, gang.Shape.Rank, -1);
            }

            foreach (var room in plan.Preempted)
            {
                int at = waiting.FindIndex(each => each.Gang == room.Gang);
                waiting[at] = waiting[at] with { Nominated = room.Placement };
                foreach (string victim in room.Victims)
                {
                    End(running.Single(each => each.Gang == victim), requeue: true);
                }
            }
        }

        private void End(RunningGang gang, bool requeue)
        {
            running.Remove(gang);
            Add(gang.Placement, gang.Rank, 1);
            if (requeue && gang.Shape is { } shape)
            {
                waiting.Add(new PendingGang { Gang = gang.Gang, Shape = shape, Queue = gang.Queue, Priority = gang.Priority, SubmittedAt = Now });
            }
        }

        private void Add(GangPlacement place, RankRequest rank, int sign)
        {
            foreach (var member in place.Members)
            {
                int at = Array.FindIndex(nodes, node => node.Name == member.Node);
                var devices = nodes[at].Devices.ToArray();
                foreach (int device in member.Ranks.SelectMany(each => each.Devices))
                {
                    devices[device] = devices[device] with { FreeMilli = devices[device].FreeMilli + (sign * rank.DeviceMilli) };
                }

                nodes[at] = nodes[at] with { Devices = devices, FreeMemoryBytes = nodes[at].FreeMemoryBytes + (sign * member.Ranks.Count * rank.MemoryBytes) };
            }
        }
    }
}
