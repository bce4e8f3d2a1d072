using Platform.Scheduling.Queues;
using Platform.Scheduling.Simulation;
using Xunit;

namespace Platform.Scheduling.Tests.Queues;

public sealed class QueueLedgerTests
{
    [Fact]
    public void A_queue_borrows_what_its_sibling_leaves_within_both_limits()
    {
        var ledger = Ledger(
            Queue("all", null), Queue("a", "all", nominal: 4, borrowing: 3), Queue("b", "all", nominal: 8, lending: 2));

        Assert.Equal(6000, ledger.Available("a", "cuda"));
        ledger.Add("a", "cuda", 6000);
        Assert.Equal((0L, 2000L, 2000L), (ledger.Available("a", "cuda"), ledger.Borrowed("a", "cuda"), ledger.Lent("b", "cuda")));
        Assert.Equal(6000, ledger.Available("b", "cuda"));
        Assert.Equal(long.MaxValue, ledger.Available("a", "cpu"));
    }

    [Fact]
    public void Whatever_fits_the_quota_keeps_every_queue_within_nominal_and_borrowed_and_borrowed_within_lent()
    {
        for (int seed = 1; seed <= 300; seed++)
        {
            var random = new SeededRandom((ulong)seed);
            var specs = new List<QueueSpec> { Queue("root", null, nominal: random.Below(4)) };
            for (int n = 0; n < 2 + random.Below(4); n++)
            {
                specs.Add(Queue($"q{n}", "root", 1 + random.Below(8), random.Below(2) == 0 ? random.Below(6) : null, random.Below(2) == 0 ? random.Below(6) : null));
            }

            var ledger = Ledger([.. specs]);
            var held = new List<(string Queue, long Milli)>();
            for (int turn = 0; turn < 200; turn++)
            {
                if (held.Count > 0 && random.Below(3) == 0)
                {
                    int at = random.Below(held.Count);
                    ledger.Add(held[at].Queue, "cuda", -held[at].Milli);
                    held.RemoveAt(at);
                }
                else
                {
                    string queue = specs[1 + random.Below(specs.Count - 1)].Name;
                    long milli = 250 * (1 + random.Below(12));
                    if (ledger.Available(queue, "cuda") >= milli)
                    {
                        ledger.Add(queue, "cuda", milli);
                        held.Add((queue, milli));
                    }
                }

                Check(specs, held, ledger, seed);
            }

            foreach (var (queue, milli) in held)
            {
                ledger.Add(queue, "cuda", -milli);
            }

            Assert.All(specs, spec => Assert.Equal((0L, 0L, 0L), (ledger.Used(spec.Name, "cuda"), ledger.Borrowed(spec.Name, "cuda"), ledger.Lent(spec.Name, "cuda"))));
        }
    }

    [Fact]
    public void The_past_counts_half_after_each_half_life()
    {
        var used = new Dictionary<(string, string), long> { [("a", "cuda")] = 8000 };
        var nothing = new Dictionary<(string, string), long>();
        var start = QueueHistory.Empty.After(nothing, Given.Noon);

        var busy = start.After(used, Given.Noon + QueueHistory.HalfLife);
        Assert.Equal(4000, busy.Average[("a", "cuda")], 1e-6);
        Assert.Equal(2000, busy.After(nothing, Given.Noon + (2 * QueueHistory.HalfLife)).Average[("a", "cuda")], 1e-6);

        var ledger = new QueueLedger([Queue("a", null) with { Weight = 2 }], new Dictionary<string, long> { ["cuda"] = 8000 }, busy);
        Assert.Equal(0.25, ledger.Share("a"), 1e-9);
    }

    [Fact]
    public void Refuses_unknown_parents_circles_and_negative_figures()
    {
        Assert.Contains("x does not exist", Assert.Single(QueueSpec.Check([Queue("a", "x")])), StringComparison.Ordinal);
        Assert.Contains(QueueSpec.Check([Queue("a", "b"), Queue("b", "a")]), wrong => wrong.Contains("its own ancestor", StringComparison.Ordinal));
        Assert.Contains("found -1", Assert.Single(QueueSpec.Check([Queue("a", null, nominal: -1)])), StringComparison.Ordinal);
    }

    private static void Check(List<QueueSpec> specs, List<(string Queue, long Milli)> held, QueueLedger ledger, int seed)
    {
        long borrowed = 0, lendable = 1000L * specs[0].Nominal["cuda"], total = 0;
        foreach (var spec in specs.Skip(1))
        {
            long used = held.Where(entry => entry.Queue == spec.Name).Sum(entry => entry.Milli), own = 1000L * spec.Nominal["cuda"];
            Assert.Equal(used, ledger.Used(spec.Name, "cuda"));
            long over = Math.Max(0, used - own);
            Assert.True(ledger.Borrowed(spec.Name, "cuda") == over, $"seed {seed}: {spec.Name} borrows {ledger.Borrowed(spec.Name, "cuda")}, expected {over}");
            Assert.True(over <= 1000L * spec.BorrowingLimit.GetValueOrDefault("cuda", 1_000_000), $"seed {seed}: {spec.Name} borrows more than its limit");
            borrowed += over;
            total += used;
            lendable += Math.Min(1000L * spec.LendingLimit.GetValueOrDefault("cuda", 1_000_000), Math.Max(0, own - used));
        }

        Assert.True(borrowed <= lendable, $"seed {seed}: {borrowed}‰ borrowed, {lendable}‰ lent");
        Assert.True(total <= 1000L * specs.Sum(spec => spec.Nominal["cuda"]), $"seed {seed}: more used than there is quota");
    }

    internal static QueueSpec Queue(string name, string? parent, int nominal = 0, int? borrowing = null, int? lending = null) => new()
    {
        Name = name,
        Parent = parent,
        Nominal = new Dictionary<string, int> { ["cuda"] = nominal },
        BorrowingLimit = borrowing is { } b ? new Dictionary<string, int> { ["cuda"] = b } : new Dictionary<string, int>(),
        LendingLimit = lending is { } l ? new Dictionary<string, int> { ["cuda"] = l } : new Dictionary<string, int>(),
    };

    private static QueueLedger Ledger(params QueueSpec[] queues) => new(queues, new Dictionary<string, long> { ["cuda"] = 64_000 }, QueueHistory.Empty);
}
