using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Scheduler.Core;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;

namespace Platform.Scheduler.Data;

/// <summary>
/// Who used what. The account is the attempts themselves: each has one row, which says for whom it held how many devices from
/// when to when and is written with the state that it follows from. So nothing is lost with a process and nothing counted twice.
/// </summary>
internal static class UsageAccounts
{
    private const double MilliMsPerHour = 1000.0 * 3_600_000.0;

    /// <summary>What a gang runs for: the name of its job or deployment.</summary>
    public static string ResourceOf(GangState gang) => gang.Deployment is { } deployment
        ? ResourceNames.Deployment(gang.Project, deployment)
        : gang.Kind == WorkloadKind.Serving ? gang.Gang : ResourceNames.Job(gang.Project, gang.Gang.Split('/')[^1]);

    /// <summary>What attempts that have ended used, by queue.</summary>
    public static async Task<IReadOnlyList<QueueSpending>> SpentAsync(SchedulerDbContext db, DateTimeOffset now, CancellationToken cancellationToken)
    {
        long month = QueueBudget.MonthOf(now).ToUnixTimeMilliseconds();
        var ended = db.Attempts.AsNoTracking().Where(attempt => attempt.Queue != null && attempt.EndedUnixMs != null);
        var total = await SumAsync(ended.Select(attempt => new Stay
        {
            Name = attempt.Queue ?? "",
            Kind = "",
            Milli = attempt.Milli,
            Price = attempt.PricePerHour,
            From = attempt.PlacedUnixMs,
            To = attempt.EndedUnixMs ?? 0,
        }), cancellationToken);
        var thisMonth = await SumAsync(ended.Where(attempt => attempt.EndedUnixMs > month).Select(attempt => new Stay
        {
            Name = attempt.Queue ?? "",
            Kind = "",
            Milli = attempt.Milli,
            Price = attempt.PricePerHour,
            From = attempt.PlacedUnixMs > month ? attempt.PlacedUnixMs : month,
            To = attempt.EndedUnixMs ?? 0,
        }), cancellationToken);
        var recent = thisMonth.ToDictionary(sum => sum.Name);
        return [.. total.Select(sum => new QueueSpending(sum.Name, UseOf(sum), recent.TryGetValue(sum.Name, out var part) ? UseOf(part) : default))];
    }

    /// <summary>What was used from one time to another, by queue, user or resource, and kind of device.</summary>
    /// <param name="db">Database.</param>
    /// <param name="by">Which of an attempt's names it is counted under.</param>
    /// <param name="queue">Only of this queue; null for all.</param>
    /// <param name="user">Only of this user; null for all.</param>
    /// <param name="from">Begin.</param>
    /// <param name="to">End; not after now.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static Task<List<UsageSum>> QueryAsync(
        SchedulerDbContext db, UsageKey by, string? queue, string? user, DateTimeOffset from, DateTimeOffset to, CancellationToken cancellationToken)
    {
        long first = from.ToUnixTimeMilliseconds(), last = to.ToUnixTimeMilliseconds();
        var attempts = db.Attempts.AsNoTracking().Where(attempt =>
            attempt.Resource != null && attempt.PlacedUnixMs < last && (attempt.EndedUnixMs == null || attempt.EndedUnixMs > first)
            && (queue == null || attempt.Queue == queue) && (user == null || attempt.User == user));
        return SumAsync(attempts.Select(attempt => new Stay
        {
            Name = (by == UsageKey.Queue ? attempt.Queue : by == UsageKey.User ? attempt.User : attempt.Resource) ?? "",
            Kind = attempt.DeviceKind ?? "",
            Milli = attempt.Milli,
            Price = attempt.PricePerHour,
            From = attempt.PlacedUnixMs > first ? attempt.PlacedUnixMs : first,
            To = attempt.EndedUnixMs == null || attempt.EndedUnixMs > last ? last : attempt.EndedUnixMs.Value,
        }), cancellationToken);
    }

    /// <summary>What queues used lately, as it was last stored.</summary>
    public static async Task<QueueHistory> HistoryAsync(SchedulerDbContext db, CancellationToken cancellationToken)
    {
        var rows = await db.QueueHistory.AsNoTracking().ToListAsync(cancellationToken);
        return rows.Count == 0
            ? QueueHistory.Empty
            : new QueueHistory(DateTimeOffset.FromUnixTimeMilliseconds(rows.Max(row => row.AtUnixMs)), rows.ToDictionary(row => (row.Queue, row.Kind), row => row.Average));
    }

    /// <summary>Stores what queues used lately, in the transaction that is open.</summary>
    public static async Task StoreAsync(SchedulerDbContext db, QueueHistory history, CancellationToken cancellationToken)
    {
        await db.QueueHistory.ExecuteDeleteAsync(cancellationToken);
        long at = history.At.ToUnixTimeMilliseconds();
        db.QueueHistory.AddRange(history.Average.Select(entry => new QueueHistoryRow { Queue = entry.Key.Queue, Kind = entry.Key.Kind, Average = entry.Value, AtUnixMs = at }));
    }

    private static DeviceUse UseOf(UsageSum sum) => new(sum.DeviceHours, sum.Cost);

    private static async Task<List<UsageSum>> SumAsync(IQueryable<Stay> stays, CancellationToken cancellationToken)
    {
        var sums = await stays.GroupBy(stay => new { stay.Name, stay.Kind }).Select(group => new
        {
            group.Key.Name,
            group.Key.Kind,
            Held = group.Sum(stay => (double)stay.Milli * (stay.To - stay.From)),
            Paid = group.Sum(stay => (double)stay.Milli * (stay.To - stay.From) * (stay.Price ?? 0)),
            Priced = group.Sum(stay => stay.Price == null ? 0 : 1),
            Attempts = group.Count(),
        }).ToListAsync(cancellationToken);
        return [.. sums.Select(sum => new UsageSum(sum.Name, sum.Kind, sum.Held / MilliMsPerHour, sum.Paid / MilliMsPerHour, sum.Priced > 0, sum.Attempts))];
    }

    /// <summary>Devices held for a time.</summary>
    private sealed class Stay
    {
        public required string Name { get; init; }

        public required string Kind { get; init; }

        public long Milli { get; init; }

        public double? Price { get; init; }

        public long From { get; init; }

        public long To { get; init; }
    }
}

/// <summary>What usage is counted by.</summary>
internal enum UsageKey
{
    /// <summary>Tenant queue.</summary>
    Queue,

    /// <summary>Who submitted the work.</summary>
    User,

    /// <summary>Job or deployment.</summary>
    Resource,
}

/// <summary>What something used of one kind of device.</summary>
/// <param name="Name">Queue, user or resource.</param>
/// <param name="Kind">Kind of device.</param>
/// <param name="DeviceHours">Devices held, times hours.</param>
/// <param name="Cost">What that costs.</param>
/// <param name="Priced">Whether any of it had a price.</param>
/// <param name="Attempts">Times that devices were given.</param>
internal sealed record UsageSum(string Name, string Kind, double DeviceHours, double Cost, bool Priced, int Attempts);
