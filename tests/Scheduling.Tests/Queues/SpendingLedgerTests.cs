using Platform.Scheduling.Queues;
using Xunit;

namespace Platform.Scheduling.Tests.Queues;

/// <summary>Budgets and what is used of them.</summary>
public sealed class SpendingLedgerTests
{
    private static readonly DateTimeOffset Midnight = new(2026, 3, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void A_budget_counts_its_queue_those_below_it_and_what_runs()
    {
        var ledger = new SpendingLedger([new QueueSpending("child", new DeviceUse(3, 6), default)], Midnight);

        var states = ledger.States(
            [Queue("top", null, new QueueBudget { DeviceHours = 10 }), Queue("child", "top", new QueueBudget { Money = 6 }), Queue("other", null, null)],
            [("top", new Holding(2000, 1, Midnight)), ("other", new Holding(9000, 1, Midnight))], Midnight.AddHours(2));

        Assert.Equal(["child", "top"], states.Keys.Order(StringComparer.Ordinal));
        Assert.Equal((7.0, false), (states["top"].Used.DeviceHours, states["top"].Exhausted));
        Assert.True(states["top"].Exceeds(new DeviceUse(3.1, 0)));
        Assert.False(states["top"].Exceeds(new DeviceUse(3, 1000)));
        Assert.Equal((6.0, true), (states["child"].Used.Money, states["child"].Exhausted));
    }

    [Fact]
    public void A_monthly_budget_counts_only_what_fell_in_the_month_and_begins_anew()
    {
        var queue = Queue("q", null, new QueueBudget { DeviceHours = 5, Per = BudgetPeriod.Month });
        var ledger = new SpendingLedger([new QueueSpending("q", new DeviceUse(100, 0), new DeviceUse(1, 0))], Midnight.AddDays(27));

        // Four hours on one device across the end of the month: two of them fall in each.
        var across = new Holding(1000, null, Midnight.AddMonths(1).AddHours(-2));
        double march = Used(ledger, queue, [("q", across)], Midnight.AddMonths(1).AddSeconds(-1));
        ledger.End("q", across, Midnight.AddMonths(1).AddHours(2));
        double april = Used(ledger, queue, [], Midnight.AddMonths(1).AddHours(3));

        Assert.Equal(3, march, 1e-3);
        Assert.Equal(2, april, 1e-9);
        Assert.Equal(104, Used(ledger, queue with { Budget = new QueueBudget { DeviceHours = 5 } }, [], Midnight.AddMonths(1).AddHours(3)), 1e-9);
    }

    [Fact]
    public void A_negative_budget_is_wrong() =>
        Assert.Contains("0 or more device-hours, found -1", Assert.Single(QueueSpec.Check([Queue("q", null, new QueueBudget { DeviceHours = -1, Money = 0 })])), StringComparison.Ordinal);

    private static double Used(SpendingLedger ledger, QueueSpec queue, IEnumerable<(string, Holding)> held, DateTimeOffset now) =>
        ledger.States([queue], held, now)["q"].Used.DeviceHours;

    private static QueueSpec Queue(string name, string? parent, QueueBudget? budget) => new() { Name = name, Parent = parent, Budget = budget };
}
