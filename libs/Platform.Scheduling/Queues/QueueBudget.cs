namespace Platform.Scheduling.Queues;

/// <summary>How long a budget lasts.</summary>
public enum BudgetPeriod
{
    /// <summary>It is given once and for all.</summary>
    Total,

    /// <summary>It begins anew with each calendar month, UTC.</summary>
    Month,
}

/// <summary>What the gangs of a queue and of those below it may use up. Once a bound is reached none of them starts; those that run go on.</summary>
public sealed record QueueBudget
{
    /// <summary>Devices held, times the hours they were held; null for no bound.</summary>
    public double? DeviceHours { get; init; }

    /// <summary>What that costs, in the currency of the configured prices; null for no bound.</summary>
    public double? Money { get; init; }

    /// <summary>How long it lasts.</summary>
    public BudgetPeriod Per { get; init; }

    /// <summary>Begin of the period that a time falls in; null for a budget without an end.</summary>
    public DateTimeOffset? Since(DateTimeOffset now) => Per == BudgetPeriod.Month ? MonthOf(now) : null;

    /// <summary>Begin of the calendar month, UTC.</summary>
    public static DateTimeOffset MonthOf(DateTimeOffset time)
    {
        var utc = time.UtcDateTime;
        return new DateTimeOffset(utc.Year, utc.Month, 1, 0, 0, 0, TimeSpan.Zero);
    }
}

/// <summary>What was used.</summary>
/// <param name="DeviceHours">Devices held, times the hours they were held.</param>
/// <param name="Money">What that costs, by the price when the devices were given.</param>
public readonly record struct DeviceUse(double DeviceHours, double Money)
{
    /// <summary>Thousandths of devices held from one time to another; nothing when that is not later.</summary>
    public static DeviceUse Of(long milli, double? pricePerHour, DateTimeOffset from, DateTimeOffset to)
    {
        double hours = to <= from ? 0 : milli / 1000.0 * (to - from).TotalHours;
        return new DeviceUse(hours, hours * (pricePerHour ?? 0));
    }

    /// <summary>The sum.</summary>
    public static DeviceUse operator +(DeviceUse left, DeviceUse right) => Add(left, right);

    /// <summary>The sum.</summary>
    public static DeviceUse Add(DeviceUse left, DeviceUse right) => new(left.DeviceHours + right.DeviceHours, left.Money + right.Money);
}

/// <summary>What attempts of a queue that have ended used.</summary>
/// <param name="Queue">The queue itself, without those below it.</param>
/// <param name="Total">Over all time.</param>
/// <param name="ThisMonth">Since the calendar month began.</param>
public sealed record QueueSpending(string Queue, DeviceUse Total, DeviceUse ThisMonth);

/// <summary>A budget and what of it is used up.</summary>
/// <param name="Queue">Queue that has it.</param>
/// <param name="Budget">The budget.</param>
/// <param name="Used">What its gangs and those of the queues below it used in the period.</param>
public sealed record BudgetState(string Queue, QueueBudget Budget, DeviceUse Used)
{
    /// <summary>Whether a bound is reached.</summary>
    public bool Exhausted => Used.DeviceHours >= Budget.DeviceHours || Used.Money >= Budget.Money;

    /// <summary>Whether something more would go beyond a bound.</summary>
    public bool Exceeds(DeviceUse more) => Used.DeviceHours + more.DeviceHours > Budget.DeviceHours || Used.Money + more.Money > Budget.Money;
}
