using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using Platform.Core.Gangs;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Scheduling.Control;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;
using Platform.V1;

namespace Platform.Scheduler.Grpc;

/// <summary>Queues as messages of the API.</summary>
internal static class QueueMessages
{
    private const string Collection = "queues/";

    /// <summary>Every queue that was set up or has gangs.</summary>
    public static ListQueuesResponse List(ControlPlane plane, DateTimeOffset now)
    {
        var ledger = plane.Input(now).QueueLedger();
        var gangs = plane.Gangs.Where(gang => !gang.IsTerminal).ToLookup(gang => gang.Queue);
        string[] kinds = [.. plane.Nodes.SelectMany(node => node.Inventory.Devices.Select(device => device.Kind))
            .Concat(plane.Queues.SelectMany(queue => queue.Nominal.Keys)).Concat(gangs.SelectMany(queue => queue.Select(gang => gang.Shape.DeviceKind))).Distinct().Order(StringComparer.Ordinal)];
        var budgets = plane.Budgets(now);
        var specs = plane.Queues.ToDictionary(queue => queue.Name);
        var response = new ListQueuesResponse();
        foreach (string name in specs.Keys.Concat(gangs.Select(queue => queue.Key)).Append("default").Distinct().Order(StringComparer.Ordinal))
        {
            response.Queues.Add(MessageOf(specs.GetValueOrDefault(name) ?? new QueueSpec { Name = name }, [.. gangs[name]], kinds, ledger, budgets.GetValueOrDefault(name), now));
        }

        return response;
    }

    /// <summary>Reads a queue; throws everything that is wrong with it at once.</summary>
    /// <param name="queue">Queue.</param>
    /// <param name="priced">Whether any device has a price, so that a budget in money can be used up.</param>
    public static QueueSpec Read(Queue? queue, bool priced)
    {
        var violations = new List<Violation>();
        string name = Short(queue?.Name ?? "", "queue.name", violations);
        string? parent = queue is { Parent.Length: > 0 } ? Short(queue.Parent, "queue.parent", violations) : null;
        if (queue?.Weight < 0)
        {
            violations.Add(new Violation("queue.weight", $"Expected more than 0, found {queue.Weight}."));
        }

        foreach (var (field, bound) in new[] { ("device_hours", DeviceHoursOf(queue?.Budget)), ("money", MoneyOf(queue?.Budget)) })
        {
            if (bound is { } value && !(value >= 0 && double.IsFinite(value)))
            {
                violations.Add(new Violation($"queue.budget.{field}", $"Expected 0 or more, found {value}."));
            }
        }

        if (MoneyOf(queue?.Budget) is not null && !priced)
        {
            violations.Add(new Violation("queue.budget.money", "No device has a price, so nothing would ever count; set Scheduler:DevicePricePerHour, or bound device_hours."));
        }

        foreach (var (field, counts) in new[] { ("nominal_quota", queue?.NominalQuota), ("borrowing_limit", queue?.BorrowingLimit), ("lending_limit", queue?.LendingLimit) })
        {
            violations.AddRange((counts ?? []).Where(count => count.Value < 0).Select(count => new Violation($"queue.{field}[{count.Key}]", $"Expected 0 or more, found {count.Value}.")));
        }

        return violations.Count > 0 || queue is null ? throw new InvalidRequestException(violations) : new QueueSpec
        {
            Name = name,
            Parent = parent,
            Nominal = queue.NominalQuota.ToDictionary(),
            BorrowingLimit = queue.BorrowingLimit.ToDictionary(),
            LendingLimit = queue.LendingLimit.ToDictionary(),
            Weight = queue.Weight == 0 ? 1 : queue.Weight,
            Budget = BudgetOf(queue.Budget),
        };
    }

    private static Queue MessageOf(QueueSpec spec, List<GangState> gangs, string[] kinds, QueueLedger ledger, BudgetState? budget, DateTimeOffset now)
    {
        var queue = new Queue
        {
            Name = Collection + spec.Name,
            Parent = spec.Parent is null ? "" : Collection + spec.Parent,
            Weight = spec.Weight,
            Share = ledger.Share(spec.Name),
            PendingJobs = gangs.Count(gang => gang.Kind != WorkloadKind.Serving && gang.Stage == GangStage.Queued),
            RunningJobs = gangs.Count(gang => gang.Kind != WorkloadKind.Serving && gang.IsActive),
        };
        Put(queue.NominalQuota, spec.Nominal);
        Put(queue.BorrowingLimit, spec.BorrowingLimit);
        Put(queue.LendingLimit, spec.LendingLimit);
        if (budget is not null)
        {
            queue.Budget = MessageOf(budget.Budget);
            queue.BudgetUse = new BudgetUse { DeviceHours = budget.Used.DeviceHours, Money = budget.Used.Money, Exhausted = budget.Exhausted };
            queue.BudgetUse.PeriodStartTime = budget.Budget.Since(now) is { } since ? Timestamp.FromDateTimeOffset(since) : null;
        }

        foreach (string kind in kinds)
        {
            PutIfAny(queue.Used, kind, ledger.Used(spec.Name, kind));
            PutIfAny(queue.Borrowed, kind, ledger.Borrowed(spec.Name, kind));
            PutIfAny(queue.Lent, kind, ledger.Lent(spec.Name, kind));
        }

        return queue;
    }

    private static double? DeviceHoursOf(Budget? budget) => budget is { HasDeviceHours: true } ? budget.DeviceHours : null;

    private static double? MoneyOf(Budget? budget) => budget is { HasMoney: true } ? budget.Money : null;

    /// <summary>A budget without any bound is none.</summary>
    private static QueueBudget? BudgetOf(Budget? budget) => budget is { HasDeviceHours: false, HasMoney: false } or null ? null : new QueueBudget
    {
        DeviceHours = DeviceHoursOf(budget),
        Money = MoneyOf(budget),
        Per = budget.Period == Platform.V1.BudgetPeriod.Month ? Scheduling.Queues.BudgetPeriod.Month : Scheduling.Queues.BudgetPeriod.Total,
    };

    private static Budget MessageOf(QueueBudget budget)
    {
        var message = new Budget { Period = budget.Per == Scheduling.Queues.BudgetPeriod.Month ? Platform.V1.BudgetPeriod.Month : Platform.V1.BudgetPeriod.Total };
        if (budget.DeviceHours is { } hours)
        {
            message.DeviceHours = hours;
        }

        if (budget.Money is { } money)
        {
            message.Money = money;
        }

        return message;
    }

    private static void Put(MapField<string, int> target, IReadOnlyDictionary<string, int> source)
    {
        foreach (var (kind, count) in source)
        {
            target[kind] = count;
        }
    }

    private static void PutIfAny(MapField<string, int> target, string kind, long milli)
    {
        if (milli > 0)
        {
            target[kind] = (int)Math.Ceiling(milli / 1000.0);
        }
    }

    /// <summary>Name of a queue without its collection; anything wrong with it is added to the violations.</summary>
    public static string Short(string name, string field, List<Violation> violations)
    {
        string id = name.StartsWith(Collection, StringComparison.Ordinal) ? name[Collection.Length..] : "";
        if (id.Length == 0 || id.Length > 63 || !id.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-'))
        {
            violations.Add(new Violation(field, $"Expected queues/{{queue}} with lower-case letters, digits and dashes, found '{name}'."));
        }

        return id;
    }
}
