namespace Platform.Scheduling.Queues;

/// <summary>What queues used up, over all time and since the month began. One owner, no sharing.</summary>
public sealed class SpendingLedger
{
    private readonly Dictionary<string, (DeviceUse Total, DeviceUse Month)> ended = new(StringComparer.Ordinal);
    private DateTimeOffset month;

    /// <summary>Starts from the attempts that have ended.</summary>
    /// <param name="spent">What they used, by queue.</param>
    /// <param name="now">The time; the month is the one that it falls in.</param>
    public SpendingLedger(IEnumerable<QueueSpending> spent, DateTimeOffset now)
    {
        month = QueueBudget.MonthOf(now);
        foreach (var queue in spent)
        {
            ended[queue.Queue] = (queue.Total, queue.ThisMonth);
        }
    }

    /// <summary>An attempt of a queue ended.</summary>
    public void End(string queue, Holding attempt, DateTimeOffset now)
    {
        Advance(now);
        var (total, thisMonth) = ended.GetValueOrDefault(queue);
        ended[queue] = (total + attempt.Until(now, DateTimeOffset.MinValue), thisMonth + attempt.Until(now, month));
    }

    /// <summary>Every budget with what is used of it.</summary>
    /// <param name="queues">Queues, sound by <see cref="QueueSpec.Check"/>.</param>
    /// <param name="held">What gangs of each queue hold now.</param>
    /// <param name="now">The time.</param>
    public IReadOnlyDictionary<string, BudgetState> States(IReadOnlyCollection<QueueSpec> queues, IEnumerable<(string Queue, Holding Held)> held, DateTimeOffset now)
    {
        var budgets = queues.Where(queue => queue.Budget is not null).ToList();
        if (budgets.Count == 0)
        {
            return new Dictionary<string, BudgetState>();
        }

        Advance(now);
        var parents = queues.ToDictionary(queue => queue.Name, queue => queue.Parent);
        var running = held.ToLookup(entry => entry.Queue, entry => entry.Held);
        var states = new Dictionary<string, BudgetState>();
        foreach (var queue in budgets)
        {
            var budget = queue.Budget!;
            var from = budget.Since(now) ?? DateTimeOffset.MinValue;
            var used = default(DeviceUse);
            foreach (string member in ended.Keys.Concat(running.Select(entry => entry.Key)).Distinct().Where(name => IsWithin(name, queue.Name, parents)))
            {
                var (total, thisMonth) = ended.GetValueOrDefault(member);
                used += budget.Per == BudgetPeriod.Month ? thisMonth : total;
                foreach (var holding in running[member])
                {
                    used += holding.Until(now, from);
                }
            }

            states[queue.Name] = new BudgetState(queue.Name, budget, used);
        }

        return states;
    }

    private static bool IsWithin(string name, string ancestor, IReadOnlyDictionary<string, string?> parents)
    {
        for (string? at = name; at is not null; at = parents.GetValueOrDefault(at))
        {
            if (at == ancestor)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>With a new month what was used in it begins at nothing: attempts that ended before have no part in it.</summary>
    private void Advance(DateTimeOffset now)
    {
        if (QueueBudget.MonthOf(now) is var begun && begun > month)
        {
            month = begun;
            foreach (string queue in ended.Keys.ToList())
            {
                ended[queue] = (ended[queue].Total, default);
            }
        }
    }
}

/// <summary>Devices that an attempt holds.</summary>
/// <param name="Milli">Thousandths of devices.</param>
/// <param name="PricePerHour">Price of a whole one; null when none was configured.</param>
/// <param name="Since">When they were given.</param>
public sealed record Holding(long Milli, double? PricePerHour, DateTimeOffset Since)
{
    /// <summary>What it used until a time, of that only what came after another.</summary>
    public DeviceUse Until(DateTimeOffset end, DateTimeOffset from) => DeviceUse.Of(Milli, PricePerHour, Since > from ? Since : from, end);
}
