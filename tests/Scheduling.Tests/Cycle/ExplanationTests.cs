using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Tests.Queues;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

/// <summary>Why a gang waits, as a tree with numbers; when it will start; and what would let it start now.</summary>
public sealed class ExplanationTests(ITestOutputHelper output)
{
    [Fact]
    public void Too_few_free_devices_are_counted_with_who_holds_the_others_and_until_when()
    {
        var input = QueueCycleTests.Input(
            8, [Waits("jobs/new", Given.Shape(data: 4, kind: "cuda"))],
            Holds("jobs/late", [0, 1, 2, 3]), Holds("jobs/soon", [4, 5]) with { ExpectedEnd = Given.Noon.AddMinutes(30) });

        var why = Explain("jobs/new", input);

        Assert.Equal((PendingCode.Capacity, new PendingFigures("cuda", 4000, 2000, 8000, 2000)), (why.Reason.Code, why.Reason.Figures));
        var devices = Find(why.Reason, PendingCode.Capacity, "2 of 8 cuda devices in service are free, 2 too few; 2 gangs hold the others.");
        Assert.Equal(["jobs/soon", "jobs/late"], devices.Causes.Select(holder => holder.Subject));
        Assert.Equal("jobs/soon holds 2, for another 30 min as far as is known.", devices.Causes[0].Message);
        Find(why.Reason, PendingCode.Priority, "Nobody makes room: no gang of queue default that runs has a priority below 100.");
        Assert.Equal((1, Given.Noon.AddMinutes(30), EstimateBasis.Reservation), (why.Position, why.EstimatedStart, why.Basis));
        Assert.Contains(why.Changes, change => change is { Change: CounterfactualKind.GangEnds, Subject: "jobs/soon", Message: "would start now if jobs/soon ended" });
        Assert.Contains(why.Changes, change => change is { Change: CounterfactualKind.Data, Amount: 2 });
        Assert.Contains(why.Changes, change => change is { Change: CounterfactualKind.Nodes, Amount: 1 });
    }

    [Fact]
    public void Free_devices_that_do_not_help_are_named_with_the_reason()
    {
        var cluster = Given.Cluster(Node("n0", 4, 3, "b1"), Node("n1", 4, 3, "b1"), Node("n2", 4, 4, "b2"), Given.Node("n3", 4, kind: "cuda", schedulable: false, block: "b2"));
        var input = new CycleInput { Cluster = cluster, Waiting = [Waits("jobs/new", Given.Shape(tensor: 4, data: 2, kind: "cuda"))] };

        var why = Explain("jobs/new", input);

        var idle = Find(why.Reason, PendingCode.Fragmentation, "6 free cuda devices on 2 nodes do not help.");
        Assert.Equal(["n0", "n1"], idle.Causes.Select(node => node.Subject));
        Assert.Equal("n0: 3 free beside whole groups: a tensor group of 4 ranks has to be on one node.", idle.Causes[0].Message);
        var far = Find(why.Reason, PendingCode.Topology, "Each tensor group of 4 ranks has to stay within one node.");
        Assert.Equal(["node/n2 has room for 4.", "node/n0 has room for 3.", "node/n1 has room for 3."], far.Causes.Select(domain => domain.Message));
        var absent = Find(why.Reason, PendingCode.NodeHealth, "4 cuda devices are out of service, or avoided.");
        Assert.Equal("n3 is lost: 4 devices.", Assert.Single(absent.Causes).Message);
        Assert.Contains(why.Changes, change => change is { Change: CounterfactualKind.Tensor, Amount: 2, Message: "would start now with tensor: 2 and data: 4" });
        Assert.Contains(why.Changes, change => change is { Change: CounterfactualKind.Nodes, Amount: 1, Subject: "b1", Message: "would start now with 1 more node of 4 cuda devices in block b1" });
        Assert.Null(why.EstimatedStart);
    }

    [Fact]
    public void Quota_says_what_the_queue_uses_and_who_of_it()
    {
        var queues = new[] { QueueLedgerTests.Queue("all", null), QueueLedgerTests.Queue("a", "all", nominal: 2, borrowing: 0), QueueLedgerTests.Queue("b", "all", nominal: 6) };
        var input = QueueCycleTests.Input(8, [Waits("jobs/new", Given.Shape(data: 2, kind: "cuda")) with { Queue = "a" }], Holds("jobs/own", [0]) with { Queue = "a" }) with { Queues = queues };

        var why = Explain("jobs/new", input);

        Assert.Equal((PendingCode.Quota, "a", new PendingFigures("cuda", 2000, 1000, 2000, 1000)), (why.Reason.Code, why.Reason.Subject, why.Reason.Figures));
        Assert.Equal("jobs/own", Assert.Single(Find(why.Reason, PendingCode.Quota, "Queue a may take 1 more cuda devices now: it uses 1 of its own 2, borrows 0 and has lent 0.").Causes).Subject);
        Assert.Equal(new Counterfactual(CounterfactualKind.Quota, "would start now with 1 more cuda devices of quota for queue a", "a", 1), why.Changes[0]);
    }

    [Fact]
    public void A_gang_behind_others_is_told_who_they_are_and_what_priority_would_do()
    {
        var input = QueueCycleTests.Input(
            4, [Waits("jobs/large", Given.Shape(data: 4, kind: "cuda"), priority: 150), Waits("jobs/small", Given.Shape(kind: "cuda"), submitted: 5)],
            Holds("jobs/running", [0, 1]) with { MayYield = true, Priority = 50, RunningSince = Given.Noon.AddSeconds(-60) });

        var why = Explain("jobs/small", input);

        Assert.Equal((PendingCode.Priority, 2), (why.Reason.Code, why.Position));
        Assert.Equal("jobs/large: priority 150, 4 cuda devices.", Assert.Single(Find(why.Reason, PendingCode.Priority, "1 gang of queue default goes first, for 4 devices.").Causes).Message);
        Assert.Equal("jobs/running may be asked in 60 s.", Assert.Single(Find(why.Reason, PendingCode.Priority, "1 gang of lower priority has not run for 120 s yet, before which nobody is asked to make room.").Causes).Message);
        Assert.Equal(new Counterfactual(CounterfactualKind.Priority, "would start now with a priority above 150", "priority", 151), Assert.Single(why.Changes));
    }

    [Fact]
    public void The_estimate_of_a_later_gang_leaves_room_for_those_before_it()
    {
        var input = QueueCycleTests.Input(
            4, [Waits("jobs/first", Given.Shape(data: 4, kind: "cuda")) with { ExpectedRuntime = TimeSpan.FromMinutes(10) }, Waits("jobs/second", Given.Shape(data: 4, kind: "cuda"), submitted: 5)],
            Holds("jobs/running", [0, 1, 2, 3]) with { ExpectedEnd = Given.Noon.AddMinutes(5) }) with
        {
            Options = new CycleOptions { Backfill = false },
        };

        Assert.Equal((Given.Noon.AddMinutes(5), EstimateBasis.Runtimes), (Explain("jobs/first", input).EstimatedStart, Explain("jobs/first", input).Basis));
        Assert.Equal(Given.Noon.AddMinutes(15), Explain("jobs/second", input).EstimatedStart);
    }

    private Explanation Explain(string gang, CycleInput input)
    {
        var plan = SchedulingCycle.Decide(input, Given.Noon);
        var why = Explanation.Of(gang, input, plan.Deferred.Single(deferral => deferral.Gang == gang), [], Given.Noon) ?? throw new InvalidOperationException("It does not wait.");
        Write(why.Reason, "");
        foreach (var change in why.Changes)
        {
            output.WriteLine(change.Message);
        }

        return why;
    }

    private void Write(PendingReason reason, string indent)
    {
        output.WriteLine($"{indent}{reason.Code} {reason.Message}");
        foreach (var cause in reason.Causes)
        {
            Write(cause, indent + "  ");
        }
    }

    private static PendingReason Find(PendingReason reason, PendingCode code, string message) =>
        Assert.Single(reason.Causes, cause => cause.Code == code && cause.Message == message);

    private static PendingGang Waits(string gang, GangShape shape, int priority = 100, int submitted = 0) => Given.Waiting(gang, shape, priority, submitted);

    private static NodeSnapshot Node(string name, int devices, int free, string block)
    {
        var node = Given.Node(name, devices, kind: "cuda", block: block);
        return node with { Devices = [.. node.Devices.Select(device => device with { FreeMilli = device.Index < free ? 1000 : 0 })] };
    }

    private static RunningGang Holds(string gang, int[] devices) => new()
    {
        Placement = new GangPlacement(gang, [new MemberPlacement("n0", [.. devices.Select((device, rank) => new RankPlacement(rank, [device], 1000))])]),
        Rank = Given.Shape(kind: "cuda").Rank,
        Priority = 100,
        RunningSince = Given.Noon.AddHours(-1),
    };
}
