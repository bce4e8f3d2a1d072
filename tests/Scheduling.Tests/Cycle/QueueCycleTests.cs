using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Queues;
using Platform.Scheduling.Simulation;
using Platform.Scheduling.Tests.Queues;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

public sealed class QueueCycleTests
{
    private static readonly CycleOptions NoMinimum = new() { MinRuntime = TimeSpan.Zero };

    [Fact]
    public void The_queue_with_the_smaller_share_goes_first_and_weight_counts()
    {
        var input = Input(4, [Gang("jobs/a1", "a"), Gang("jobs/a2", "a"), Gang("jobs/a3", "a"), Gang("jobs/b1", "b", submitted: 9), Gang("jobs/b2", "b", submitted: 9)]) with
        {
            Queues = [new QueueSpec { Name = "a" }, new QueueSpec { Name = "b", Weight = 2 }],
        };

        Assert.Equal(["jobs/a1", "jobs/b1", "jobs/b2", "jobs/a2"], SchedulingCycle.Decide(input, Given.Noon).Placed.Select(placed => placed.Gang));
    }

    [Fact]
    public void A_gang_beyond_its_queues_quota_waits_for_quota_and_holds_up_only_its_own_queue()
    {
        var input = Input(8, [Gang("jobs/a1", "a", devices: 4), Gang("jobs/a2", "a", submitted: 1), Gang("jobs/b1", "b", submitted: 2)], Holds("jobs/a0", "a", 0)) with
        {
            Queues = [QueueLedgerTests.Queue("all", null), QueueLedgerTests.Queue("a", "all", nominal: 2, borrowing: 2), QueueLedgerTests.Queue("b", "all", nominal: 4)],
        };

        var plan = SchedulingCycle.Decide(input, Given.Noon);

        Assert.Equal(["jobs/b1"], plan.Placed.Select(placed => placed.Gang));
        Assert.Equal([PendingCode.Quota, PendingCode.Priority], plan.Deferred.Select(deferral => deferral.Reason.Code));
        Assert.Contains("uses 1 of its own 2 and may take 3 more now", plan.Deferred[0].Reason.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_cheapest_gangs_of_lower_priority_make_room_whole_and_what_they_leave_is_for_the_one_that_asked()
    {
        var input = Input(
            4, [Gang("jobs/urgent", "a", devices: 2, priority: 300), Gang("jobs/other", "b", submitted: 1)],
            Holds("jobs/old", "a", 0, since: -900), Holds("jobs/saved", "a", 1, since: -900, saved: -5), Holds("jobs/high", "a", 2, priority: 300), Holds("jobs/new", "a", 3, since: -10)) with
        {
            Options = NoMinimum,
        };

        var plan = SchedulingCycle.Decide(input, Given.Noon);
        var room = Assert.Single(plan.Preempted);
        Assert.Equal(["jobs/new", "jobs/saved"], room.Victims.Order());
        Assert.Empty(plan.Placed);

        // The victims are gone; another queue's gang may not slip in.
        var later = Input(
            4, [Gang("jobs/urgent", "a", devices: 2, priority: 300) with { Nominated = room.Placement }, Gang("jobs/other", "b", submitted: -9)], Holds("jobs/old", "a", 0), Holds("jobs/high", "a", 2)) with
        {
            Queues = [new QueueSpec { Name = "b", Weight = 100 }],
        };
        Assert.Equal(["jobs/urgent"], SchedulingCycle.Decide(later, Given.Noon).Placed.Select(placed => placed.Gang));
    }

    [Fact]
    public void A_gang_runs_for_a_while_before_it_has_to_make_room()
    {
        var input = Input(1, [Gang("jobs/urgent", "a", priority: 300)], Holds("jobs/new", "a", 0, since: -60));

        Assert.Empty(SchedulingCycle.Decide(input, Given.Noon).Preempted);
        Assert.Single(SchedulingCycle.Decide(input, Given.Noon.AddMinutes(2)).Preempted);
    }

    [Fact]
    public void A_queue_takes_back_what_others_borrowed_of_it()
    {
        var queues = new[] { QueueLedgerTests.Queue("all", null), QueueLedgerTests.Queue("a", "all", nominal: 2), QueueLedgerTests.Queue("b", "all", nominal: 2) };
        var input = Input(4, [Gang("jobs/b", "b", devices: 2, priority: -5)], Holds("jobs/a1", "a", 0), Holds("jobs/a2", "a", 1), Holds("jobs/a3", "a", 2, borrows: true), Holds("jobs/a4", "a", 3, borrows: true)) with
        {
            Queues = queues,
            Options = NoMinimum,
        };

        Assert.Equal(["jobs/a3", "jobs/a4"], Assert.Single(SchedulingCycle.Decide(input, Given.Noon).Preempted).Victims.Order());
    }

    /// <summary>Random worlds: whenever X asks Y to make room, a Y that waits again never asks X, whatever runs by then.</summary>
    [Fact]
    public void Two_gangs_never_ask_each_other_in_turn()
    {
        int asked = 0;
        for (int seed = 1; seed <= 40; seed++)
        {
            var random = new SeededRandom((ulong)seed);
            string[] names = ["a", "b", "c"];
            var queues = names.Select(name => QueueLedgerTests.Queue(name, "all", 1 + random.Below(4))).Prepend(QueueLedgerTests.Queue("all", null)).ToList();
            var waiting = Enumerable.Range(0, 14).Select(n => Gang($"jobs/{n}", names[random.Below(3)], 1 + random.Below(3), random.Below(3) * 100, n)).ToList();
            var running = new List<RunningGang>();
            var pairs = new HashSet<(string Asks, string Leaves)>();
            for (int turn = 0; turn < 60; turn++)
            {
                var now = Given.Noon.AddMinutes(turn);
                var input = Input(8, waiting, [.. running]) with { Queues = queues, Options = NoMinimum };
                var plan = SchedulingCycle.Decide(input, now);
                foreach (var placed in plan.Placed)
                {
                    var gang = waiting.Single(entry => entry.Gang == placed.Gang);
                    waiting.Remove(gang);
                    running.Add(new RunningGang { Placement = placed, Rank = gang.Shape.Rank, Queue = gang.Queue, Priority = gang.Priority, RunningSince = now, MayYield = true, Borrows = placed.Borrows });
                }

                foreach (var room in plan.Preempted)
                {
                    asked++;
                    waiting = [.. waiting.Select(gang => gang.Gang == room.Gang ? gang with { Nominated = room.Placement } : gang)];
                    foreach (string victim in room.Victims)
                    {
                        Assert.True(!pairs.Contains((victim, room.Gang)), $"seed {seed}: {room.Gang} and {victim} ask each other");
                        pairs.Add((room.Gang, victim));
                        var gone = running.Single(gang => gang.Gang == victim);
                        running.Remove(gone);
                        int devices = (int)(gone.Milli / 1000);
                        waiting.Add(Gang(victim, gone.Queue, devices, gone.Priority, int.Parse(victim["jobs/".Length..], System.Globalization.CultureInfo.InvariantCulture)));
                    }
                }

                // Someone ends now and then and comes again, so that there is room and demand.
                if (running.Count > 0 && random.Below(3) == 0)
                {
                    var ended = running[random.Below(running.Count)];
                    running.Remove(ended);
                    waiting.Add(Gang(ended.Gang, ended.Queue, (int)(ended.Milli / 1000), ended.Priority, turn));
                    pairs.RemoveWhere(pair => pair.Asks == ended.Gang || pair.Leaves == ended.Gang);
                }
            }
        }

        Assert.True(asked > 50, $"only {asked} gangs were asked: the cases say too little");
    }

    internal static PendingGang Gang(string name, string queue, int devices = 1, int priority = 100, int submitted = 0) =>
        Given.Waiting(name, Given.Shape(data: devices, kind: "cuda"), priority, submitted) with { Queue = queue };

    private static RunningGang Holds(string gang, string queue, int device, int priority = 100, int since = -600, int? saved = null, bool borrows = false) => new()
    {
        Placement = new GangPlacement(gang, [new MemberPlacement("n0", [new RankPlacement(0, [device], 1000)])]),
        Rank = Given.Shape(kind: "cuda").Rank,
        Queue = queue,
        Priority = priority,
        RunningSince = Given.Noon.AddSeconds(since),
        SavedAt = saved is { } at ? Given.Noon.AddSeconds(at) : null,
        MayYield = true,
        Borrows = borrows,
    };

    internal static CycleInput Input(int devices, IReadOnlyList<PendingGang> waiting, params RunningGang[] running)
    {
        var node = Given.Node("n0", devices, kind: "cuda");
        var held = running.SelectMany(gang => gang.Placement.Members).SelectMany(member => member.Ranks).SelectMany(rank => rank.Devices).ToHashSet();
        return new CycleInput
        {
            Cluster = Given.Cluster(node with { Devices = [.. node.Devices.Select(device => device with { FreeMilli = held.Contains(device.Index) ? 0 : 1000 })] }),
            Waiting = waiting,
            Running = running,
        };
    }
}
