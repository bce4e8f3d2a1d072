using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;
using Platform.Scheduling.Simulation;
using Platform.Scheduling.Tests.Queues;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

/// <summary>Elastic gangs that run: giving up width for others and taking idle devices.</summary>
public sealed class ElasticityTests
{
    private static readonly GangShape Wide = Given.Shape(data: 4, kind: "cuda") with { NarrowerData = [2, 1] };

    [Theory]
    [InlineData(2, 2)]
    [InlineData(3, 1)]
    public void An_elastic_gang_gives_up_as_little_width_as_will_do_before_anyone_has_to_leave(int wanted, int left)
    {
        var input = Input(
            5, [Gang("jobs/new", Given.Shape(data: wanted, kind: "cuda"), priority: 200)], Runs("jobs/elastic", Wide, [0, 1, 2, 3]), Runs("jobs/rigid", Given.Shape(kind: "cuda"), [4], priority: 0));

        var plan = SchedulingCycle.Decide(input, Given.Noon);

        var narrowing = Assert.Single(plan.Narrowed);
        var resized = Assert.Single(narrowing.Resized);
        Assert.Equal(("jobs/new", "jobs/elastic", 4, left), (narrowing.Gang, resized.Gang, resized.From, resized.To));
        Assert.Empty(plan.Preempted);
        Assert.Empty(Devices(narrowing.Placement).Intersect(Devices(resized.Placement)));
        Assert.Equal((wanted, left), (Devices(narrowing.Placement).Count, Devices(resized.Placement).Count));
        Assert.Contains("jobs/elastic (data-parallel width 4 to", Assert.Single(plan.Deferred).Reason.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_gang_of_the_same_priority_is_asked_and_one_of_a_higher_is_not()
    {
        PendingGang[] waiting = [Gang("jobs/new", Given.Shape(data: 2, kind: "cuda"))];

        Assert.Single(SchedulingCycle.Decide(Input(4, waiting, Runs("jobs/elastic", Wide, [0, 1, 2, 3])), Given.Noon).Narrowed);
        Assert.Empty(SchedulingCycle.Decide(Input(4, waiting, Runs("jobs/elastic", Wide, [0, 1, 2, 3], priority: 101)), Given.Noon).Narrowed);
        Assert.Empty(SchedulingCycle.Decide(Input(4, waiting, Runs("jobs/elastic", Wide, [0, 1, 2, 3], since: -60)) with { Options = new CycleOptions() }, Given.Noon).Narrowed);
        Assert.Empty(SchedulingCycle.Decide(Input(4, waiting, Runs("jobs/elastic", Wide, [0, 1, 2, 3])) with { Options = new CycleOptions { Elastic = false } }, Given.Noon).Narrowed);
    }

    [Fact]
    public void Another_queue_gets_width_back_only_from_what_was_borrowed()
    {
        var queues = new[] { QueueLedgerTests.Queue("all", null), QueueLedgerTests.Queue("a", "all", nominal: 2), QueueLedgerTests.Queue("b", "all", nominal: 2) };
        PendingGang[] waiting = [Gang("jobs/b", Given.Shape(data: 2, kind: "cuda"), priority: -5) with { Queue = "b" }];
        var borrower = Runs("jobs/elastic", Wide, [0, 1, 2, 3]) with { Queue = "a", Borrows = true };

        Assert.Equal(2, Assert.Single(SchedulingCycle.Decide(Input(4, waiting, borrower) with { Queues = queues }, Given.Noon).Narrowed).Resized[0].To);
        Assert.Empty(SchedulingCycle.Decide(Input(4, waiting, borrower with { Borrows = false }) with { Queues = queues }, Given.Noon).Narrowed);
    }

    [Fact]
    public void Idle_devices_go_to_a_narrow_gang_once_it_has_run_a_while_and_nobody_who_waits_can_use_them()
    {
        var narrow = Runs("jobs/elastic", Wide, [0]);
        var resize = Assert.Single(SchedulingCycle.Decide(Input(4, [], narrow), Given.Noon).Widened);
        Assert.Equal((1, 4), (resize.From, resize.To));
        Assert.Equal([0, 1, 2, 3], Devices(resize.Placement).Order());

        // Not so soon; not when it is nearly done; not what another waits for or has reserved; not beyond its queue's own quota.
        var patient = new CycleOptions();
        Assert.Empty(SchedulingCycle.Decide(Input(4, [], narrow with { RunningSince = Given.Noon.AddSeconds(-200) }) with { Options = patient }, Given.Noon).Widened);
        Assert.Empty(SchedulingCycle.Decide(Input(4, [], narrow with { ExpectedEnd = Given.Noon.AddMinutes(4) }) with { Options = patient }, Given.Noon).Widened);
        Assert.Empty(SchedulingCycle.Decide(Input(4, [Gang("jobs/large", Given.Shape(tensor: 4, kind: "cuda"))], narrow, Runs("jobs/rigid", Given.Shape(kind: "cuda"), [3])), Given.Noon).Widened);
        Assert.Empty(SchedulingCycle.Decide(Input(4, [Gang("jobs/soon", Given.Shape(kind: "cuda")) with { NotBefore = Given.Noon.AddSeconds(3) }], narrow), Given.Noon).Widened);
        var limited = Input(4, [], narrow with { Queue = "a" }) with { Queues = [QueueLedgerTests.Queue("all", null, nominal: 2), QueueLedgerTests.Queue("a", "all", nominal: 2)] };
        Assert.Equal(2, Assert.Single(SchedulingCycle.Decide(limited, Given.Noon).Widened).To);
    }

    [Fact]
    public void Devices_that_one_leaves_to_come_back_narrower_are_kept_for_it()
    {
        var leaving = Runs("jobs/elastic", Wide, [0]) with { MayYield = false, Returns = Place("jobs/elastic", [1, 2]) };

        var plan = SchedulingCycle.Decide(Input(4, [Gang("jobs/other", Given.Shape(data: 3, kind: "cuda")), Gang("jobs/small", Given.Shape(kind: "cuda"), submitted: 1)], leaving) with { Queues = [] }, Given.Noon);

        Assert.All(plan.Placed, placed => Assert.DoesNotContain(placed.Members[0].Ranks, rank => rank.Devices[0] is 1 or 2));
    }

    [Fact]
    public void A_gang_shrinks_for_another_goes_on_from_its_checkpoint_and_grows_back_when_the_other_has_ended()
    {
        var options = new ControlOptions { Cycle = new CycleOptions { MinRuntime = TimeSpan.FromSeconds(5), ElasticMinRuntime = TimeSpan.FromSeconds(10) } };
        var now = Given.Noon;
        var plane = new ControlPlane(new ControlRecord([], [], [], []), options, 1, () => "token", _ => null, now);
        var agent = new Agent(plane, "n0", 4);
        plane.Submit(Given.Gang("jobs/elastic", Wide with { DeviceKind = "cpu" }));
        Pass(10);
        Assert.Equal((GangStage.Running, 4), Now("jobs/elastic"));

        plane.Submit(Given.Gang("jobs/other", Given.Shape(data: 2)));
        agent.Step = 100;
        Pass(4);

        Assert.Equal((GangStage.Running, 2), Now("jobs/elastic"));
        Assert.Equal((GangStage.Running, 2), Now("jobs/other"));
        var narrow = Find("jobs/elastic");
        Assert.Equal((2, 0, $"jobs/elastic/1/100"), (narrow.Attempt?.Number, narrow.Restarts, narrow.Attempt?.ResumeFrom));
        Assert.Equal(GangNoteKind.Narrowed, Assert.Single(narrow.Notes).Kind);

        // Nothing happens while there is nothing idle; then it takes what the other left, once.
        Pass(60);
        Assert.Equal(2, Find("jobs/elastic").Attempt?.Number);
        agent.Finish("jobs/other");
        agent.Step = 200;
        Pass(30);
        Assert.Equal((GangStage.Running, 4), Now("jobs/elastic"));
        Assert.Equal([GangNoteKind.Narrowed, GangNoteKind.Widened], Find("jobs/elastic").Notes.Select(note => note.Kind));
        Assert.Equal("jobs/elastic/2/200", Find("jobs/elastic").Attempt?.ResumeFrom);
        Pass(300);
        Assert.Equal(3, Find("jobs/elastic").Attempt?.Number);

        GangState Find(string gang) => plane.Find(gang) ?? throw new InvalidOperationException($"{gang} is gone.");
        (GangStage Stage, int? Ranks) Now(string gang) => (Find(gang).Stage, Find(gang).Attempt?.WorldSize);
        void Pass(int seconds)
        {
            for (int second = 0; second < seconds; second++)
            {
                now += TimeSpan.FromSeconds(1);
                agent.Do(now);
                plane.Tick(now);
                Assert.Empty(Invariants.Check(plane.Gangs, plane.Nodes, now, options));
            }
        }
    }

    /// <summary>Random worlds: gangs come and go; then nothing comes or goes, and widths come to rest.</summary>
    [Fact]
    public void Widths_come_to_rest_and_no_two_gangs_take_from_each_other_in_turn()
    {
        int narrowed = 0, widened = 0;
        for (int seed = 1; seed <= 50; seed++)
        {
            var world = new World(seed);
            for (int turn = 0; turn < 80; turn++)
            {
                world.Turn(comeAndGo: turn < 60);
            }

            int before = world.Resizes;
            for (int turn = 0; turn < 20; turn++)
            {
                world.Turn(comeAndGo: false);
            }

            Assert.True(world.Resizes == before, $"seed {seed}: {world.Resizes - before} gangs were resized although nothing came or went for 20 turns");
            (narrowed, widened) = (narrowed + world.Narrowed, widened + world.Widened);
        }

        Assert.True(narrowed > 40 && widened > 25, $"{narrowed} narrowed, {widened} widened: the cases say too little");
    }

    private static PendingGang Gang(string name, GangShape shape, int priority = 100, int submitted = 0) => Given.Waiting(name, shape, priority, submitted);

    private static GangPlacement Place(string gang, int[] devices) => new(gang, [new MemberPlacement("n0", [.. devices.Select((device, rank) => new RankPlacement(rank, [device], 1000))])]);

    private static List<int> Devices(GangPlacement placement) => [.. placement.Members.SelectMany(member => member.Ranks).SelectMany(rank => rank.Devices)];

    private static RunningGang Runs(string gang, GangShape shape, int[] devices, int priority = 100, int since = -3600) => new()
    {
        Placement = Place(gang, devices),
        Rank = shape.Rank,
        Shape = shape,
        Priority = priority,
        RunningSince = Given.Noon.AddSeconds(since),
        MayYield = true,
    };

    private static CycleInput Input(int devices, IReadOnlyList<PendingGang> waiting, params RunningGang[] running) =>
        QueueCycleTests.Input(devices, waiting, running) with { Options = new CycleOptions { MinRuntime = TimeSpan.Zero, ElasticMinRuntime = TimeSpan.Zero } };

    /// <summary>An agent that does at once what it is told and saves when it stops.</summary>
    private sealed class Agent(ControlPlane plane, string node, int devices)
    {
        private readonly HashSet<string> ended = [];

        public int Step { get; set; }

        public void Finish(string gang) => ended.Add(gang);

        public void Do(DateTimeOffset now)
        {
            plane.Renew(node, "a", "", Given.Inventory(node, devices), [], now);
            foreach (var gang in plane.Gangs.Where(gang => gang.IsActive).ToList())
            {
                if (gang.Stage == GangStage.Stopping && gang.Attempt is { Outcome: StopOutcome.Yield } attempt)
                {
                    plane.Apply(gang.Gang, new GangEvent.CheckpointWritten(attempt.Number, Step, $"{gang.Gang}/{attempt.Number}/{Step}", "hash"), now);
                }

                plane.Report(Given.Report(gang, node, gang.Stage switch
                {
                    GangStage.Preparing => MemberPhase.Prepared,
                    GangStage.Starting => MemberPhase.Running,
                    GangStage.Running => ended.Contains(gang.Gang) ? MemberPhase.Succeeded : MemberPhase.Running,
                    _ => MemberPhase.Released,
                }), now);
            }
        }
    }

    /// <summary>Gangs of three queues, some elastic, on eight devices; a stopped gang is back in the queue in the next turn.</summary>
    private sealed class World
    {
        private readonly int seed;
        private readonly SeededRandom random;
        private readonly IReadOnlyList<QueueSpec> queues;
        private readonly List<RunningGang> running = [];
        private readonly Dictionary<string, PendingGang> known = [];
        private readonly HashSet<(string Asks, string Gives)> left = [];
        private readonly HashSet<(string Asks, string Gives)> gaveWidth = [];
        private List<PendingGang> waiting = [];
        private int turn;
        private int gangs;

        public World(int seed)
        {
            (this.seed, random) = (seed, new SeededRandom((ulong)seed));
            queues = seed % 2 == 0 ? [] : [QueueLedgerTests.Queue("all", null), .. new[] { "a", "b", "c" }.Select(name => QueueLedgerTests.Queue(name, "all", 1 + random.Below(4)))];
        }

        public int Narrowed { get; private set; }

        public int Widened { get; private set; }

        public int Resizes => Narrowed + Widened;

        public void Turn(bool comeAndGo)
        {
            turn++;
            if (comeAndGo && random.Below(3) == 0)
            {
                Come();
            }

            if (comeAndGo && running.Count > 0 && random.Below(4) == 0)
            {
                string gone = running[random.Below(running.Count)].Gang;
                running.RemoveAll(gang => gang.Gang == gone);
                left.RemoveWhere(pair => pair.Asks == gone || pair.Gives == gone);
                gaveWidth.Clear();
            }

            var now = Given.Noon.AddMinutes(turn);
            var input = QueueCycleTests.Input(8, waiting, [.. running]) with
            {
                Queues = queues,
                Options = new CycleOptions { MinRuntime = TimeSpan.FromMinutes(random.Below(3)), ElasticMinRuntime = TimeSpan.FromMinutes(2) },
            };
            var plan = SchedulingCycle.Decide(input, now);
            foreach (var placed in plan.Placed)
            {
                var gang = known[placed.Gang];
                waiting.RemoveAll(entry => entry.Gang == placed.Gang);
                Assert.Empty(Devices(placed).Intersect(running.SelectMany(other => Devices(other.Placement))));
                running.Add(new RunningGang { Placement = placed, Rank = gang.Shape.Rank, Shape = gang.Shape, Queue = gang.Queue, Priority = gang.Priority, RunningSince = now, MayYield = true, Borrows = placed.Borrows });
            }

            foreach (var narrowing in plan.Narrowed)
            {
                Nominate(narrowing.Gang, narrowing.Placement);
                foreach (var resized in narrowing.Resized)
                {
                    Narrowed++;
                    Assert.True(resized.To < resized.From && resized.To >= 1);
                    Once(gaveWidth, narrowing.Gang, resized.Gang);
                    Requeue(resized.Gang, resized.Placement);
                }
            }

            foreach (var resized in plan.Widened)
            {
                Widened++;
                Assert.True(resized.To > resized.From);
                Assert.Empty(plan.Placed.SelectMany(Devices).Intersect(Devices(resized.Placement)));
                Requeue(resized.Gang, resized.Placement);
            }

            foreach (var room in plan.Preempted)
            {
                Nominate(room.Gang, room.Placement);
                foreach (string victim in room.Victims)
                {
                    Once(left, room.Gang, victim);
                    Requeue(victim, null);
                }
            }
        }

        private void Come()
        {
            string name = $"jobs/{++gangs}";
            int devices = 1 << random.Below(3);
            var shape = Given.Shape(data: devices, kind: "cuda");
            if (random.Below(2) == 0)
            {
                shape = shape with { NarrowerData = [.. new[] { 2, 1 }.Where(width => width < devices)] };
            }

            var gang = Gang(name, shape, random.Below(3) * 100, gangs) with { Queue = new[] { "a", "b", "c" }[random.Below(3)] };
            known[name] = gang;
            waiting.Add(gang);
            gaveWidth.Clear();
        }

        /// <summary>Who left for another never makes it leave; who gave width to another takes none of its while nothing comes or goes.</summary>
        private void Once(HashSet<(string Asks, string Gives)> before, string asks, string gives)
        {
            Assert.True(!before.Contains((gives, asks)), $"seed {seed}, turn {turn}: {gives} took from {asks}, which now takes from it");
            before.Add((asks, gives));
        }

        private void Nominate(string name, GangPlacement placement) => waiting = [.. waiting.Select(gang => gang.Gang == name ? gang with { Nominated = placement } : gang)];

        private void Requeue(string name, GangPlacement? nominated)
        {
            running.RemoveAll(gang => gang.Gang == name);
            waiting.Add(known[name] with { Nominated = nominated });
        }
    }
}
