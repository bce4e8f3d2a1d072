using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;
using Xunit;

namespace Platform.Scheduling.Tests.Control;

/// <summary>Budgets and the memory of fair share in the control plane.</summary>
public sealed class AccountTests
{
    private static readonly ControlOptions Options = new() { DevicePricePerHour = new Dictionary<string, double> { ["cpu"] = 3 } };
    private DateTimeOffset now = Given.Noon;
    private ControlPlane plane = New(new ControlRecord([], [], [], []));

    [Fact]
    public void A_gang_that_would_exceed_the_budget_by_its_runtime_waits_and_a_shorter_one_of_the_queue_starts()
    {
        plane.PutQueue(new QueueSpec { Name = "q", Budget = new QueueBudget { DeviceHours = 2, Per = BudgetPeriod.Month } });
        Renew("n0");
        plane.Submit(Given.Gang("jobs/long", Given.Shape(data: 2)) with { Queue = "q", ExpectedRuntime = TimeSpan.FromHours(2) });
        plane.Submit(Given.Gang("jobs/short", Given.Shape(data: 2)) with { Queue = "q", ExpectedRuntime = TimeSpan.FromMinutes(30) });

        plane.Settle(now);

        Assert.Equal((GangStage.Queued, GangStage.Preparing), (plane.Find("jobs/long")?.Stage, plane.Find("jobs/short")?.Stage));
        var reason = plane.Deferrals["jobs/long"].Reason;
        Assert.Equal((PendingCode.Budget, "By its expected runtime it uses 4 device-hours; queue q has used 0 of its budget of 2 for January 2026."), (reason.Code, reason.Message));
        Assert.Contains("the budget begins anew on 2026-02-01 UTC", reason.Unblocks);
        Assert.Equal(3, plane.Find("jobs/short")?.Attempt?.PricePerHour);
    }

    [Fact]
    public void What_a_gang_used_counts_after_its_end_as_it_did_before()
    {
        plane.PutQueue(new QueueSpec { Name = "q", Budget = new QueueBudget { Money = 100 } });
        Renew("n0");
        plane.Submit(Given.Gang("jobs/a", Given.Shape(data: 4)) with { Queue = "q" });
        plane.Settle(now);
        now += TimeSpan.FromHours(2);
        double running = plane.Budgets(now)["q"].Used.Money;
        plane.Apply("jobs/a", new GangEvent.CancelRequested(), now);
        plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", MemberPhase.Released), now);
        var ended = Assert.Single(plane.TakeChanges().EndedAttempts);

        double after = plane.Budgets(now + TimeSpan.FromHours(5))["q"].Used.Money;

        Assert.Equal((24.0, 24.0), (running, after));
        Assert.Equal(4000, ended.Attempt.Held.Milli);
    }

    [Fact]
    public void The_memory_of_fair_share_outlives_the_process()
    {
        Renew("n0");
        plane.Submit(Given.Gang("jobs/a", Given.Shape()) with { Queue = "busy" });
        for (int step = 0; step < 400; step++)
        {
            now += TimeSpan.FromSeconds(0.5);
            Renew("n0");
            plane.Tick(now);
        }

        var kept = plane.TakeChanges().History;
        Assert.NotNull(kept);
        double used = kept.Average[("busy", "cpu")];
        Assert.Equal(1000 * (1 - Math.Pow(0.5, 200 / 3600.0)), used, 1e-1);

        plane = New(new ControlRecord([], [], [], []) { History = kept });
        Assert.Equal(used, plane.Input(now).History.Average[("busy", "cpu")]);
    }

    private void Renew(string node) => plane.Renew(node, "a", "", Given.Inventory(node, 4), [], now);

    private static ControlPlane New(ControlRecord record) => new(record, Options, 3, () => "token", gang => gang.TraceParent, Given.Noon);
}
