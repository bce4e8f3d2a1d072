using Platform.Scheduling.Cycle;
using Platform.Scheduling.Simulation;
using Xunit;

namespace Platform.Scheduling.Tests.Cycle;

public sealed class BackfillTests
{
    [Fact]
    public void A_short_gang_starts_before_a_large_one_that_has_to_wait_and_a_long_one_does_not()
    {
        var first = Decide(
            [Sized("jobs/large", 4, 600, 1), Sized("jobs/long", 1, 500, 2), Sized("jobs/short", 1, 100, 3)], Runs("jobs/now", 3, 200));

        Assert.Equal(["jobs/short"], first.Placed.Select(placed => placed.Gang));
        Assert.Equal(Given.Noon.AddSeconds(200), first.Deferred.Single(deferral => deferral.Gang == "jobs/large").EstimatedStart);
        Assert.Equal(PendingCode.Reservation, Assert.Single(first.Deferred[0].Reason.Causes).Code);
    }

    [Fact]
    public void Without_a_known_end_nobody_goes_before_the_first_in_line()
    {
        var plan = Decide([Sized("jobs/large", 4, 600, 1), Sized("jobs/short", 1, 100, 2)], Runs("jobs/now", 3, null));

        Assert.Empty(plan.Placed);
        Assert.Equal(PendingCode.Priority, plan.Deferred[1].Reason.Code);
    }

    /// <summary>The same random arrivals with and without backfill, every gang as long as declared.</summary>
    [Fact]
    public void No_gang_that_had_a_reservation_starts_later_than_reserved_and_more_is_done_in_the_same_time()
    {
        int earlier = 0, reservations = 0;
        double with = 0, without = 0;
        for (int seed = 1; seed <= 20; seed++)
        {
            var (starts, reserved, end) = Simulate(seed, backfill: true);
            var (plain, _, plainEnd) = Simulate(seed, backfill: false);
            foreach (var (gang, promised) in reserved)
            {
                reservations++;
                Assert.True(starts[gang] <= promised, $"seed {seed}: {gang} starts at {starts[gang]:T}, reserved for {promised:T}");
            }

            earlier += starts.Count(entry => entry.Value < plain[entry.Key]);
            with += end;
            without += plainEnd;
        }

        Assert.True(reservations > 60 && earlier > 60, $"{reservations} reservations, {earlier} gangs earlier: the cases say too little");
        Assert.True(with <= without, $"{with} s with backfill, {without} s without");
    }

    /// <summary>The first gang of the line is delayed by nobody: it starts exactly when it would without backfill.</summary>
    [Fact]
    public void The_first_gang_that_has_to_wait_starts_no_later_than_without_backfill()
    {
        for (int seed = 1; seed <= 20; seed++)
        {
            var (starts, reserved, _) = Simulate(seed, backfill: true);
            var (plain, _, _) = Simulate(seed, backfill: false);
            if (reserved.Count > 0)
            {
                string first = reserved.Keys.First();
                Assert.True(starts[first] <= plain[first], $"seed {seed}: {first} starts at {starts[first]:T}, without backfill at {plain[first]:T}");
            }
        }
    }

    private static (Dictionary<string, DateTimeOffset> Starts, Dictionary<string, DateTimeOffset> Reserved, double End) Simulate(int seed, bool backfill)
    {
        const int devices = 8;
        var random = new SeededRandom((ulong)seed);
        var waiting = Enumerable.Range(0, 30).Select(n => Sized($"jobs/{n:00}", random.Below(3) == 0 ? 4 + random.Below(5) : 1 + random.Below(2), 30 + (30 * random.Below(20)), n)).ToList();
        var running = new List<(RunningGang Gang, DateTimeOffset End)>();
        var starts = new Dictionary<string, DateTimeOffset>();
        var reserved = new Dictionary<string, DateTimeOffset>();
        var now = Given.Noon;
        while (waiting.Count > 0)
        {
            var input = QueueCycleTests.Input(devices, waiting, [.. running.Select(entry => entry.Gang)]) with { Options = new CycleOptions { Backfill = backfill, Preemption = false } };
            var plan = SchedulingCycle.Decide(input, now);
            foreach (var placed in plan.Placed)
            {
                var gang = waiting.Single(entry => entry.Gang == placed.Gang);
                waiting.Remove(gang);
                starts[gang.Gang] = now;
                var end = now + gang.ExpectedRuntime.GetValueOrDefault();
                running.Add((new RunningGang { Placement = placed, Rank = gang.Shape.Rank, RunningSince = now, ExpectedEnd = end }, end));
            }

            foreach (var deferral in plan.Deferred)
            {
                if (deferral.EstimatedStart is { } promised && (!reserved.TryGetValue(deferral.Gang, out var before) || promised < before))
                {
                    reserved.TryAdd(deferral.Gang, promised);
                }
            }

            now = running.Min(entry => entry.End);
            running.RemoveAll(entry => entry.End <= now);
        }

        return (starts, reserved, (running.Select(entry => entry.End).Append(now).Max() - Given.Noon).TotalSeconds);
    }

    private static PendingGang Sized(string name, int devices, int seconds, int submitted) =>
        QueueCycleTests.Gang(name, "default", devices, submitted: submitted) with { ExpectedRuntime = TimeSpan.FromSeconds(seconds) };

    private static (int Devices, RunningGang Gang) Runs(string name, int devices, int? seconds) => (devices, new RunningGang
    {
        Placement = new GangPlacement(name, [new Platform.Scheduling.Cycle.MemberPlacement("n0", [.. Enumerable.Range(0, devices).Select(device => new Platform.Core.Gangs.RankPlacement(device, [device], 1000))])]),
        Rank = Given.Shape(kind: "cuda").Rank,
        RunningSince = Given.Noon,
        ExpectedEnd = seconds is { } end ? Given.Noon.AddSeconds(end) : null,
    });

    private static CyclePlan Decide(IReadOnlyList<PendingGang> waiting, (int Devices, RunningGang Gang) running) =>
        SchedulingCycle.Decide(QueueCycleTests.Input(4, waiting, running.Gang), Given.Noon);
}
