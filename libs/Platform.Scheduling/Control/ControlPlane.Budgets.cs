using System.Globalization;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Control;

/// <summary>What queues used up, and what of that their budgets leave.</summary>
public sealed partial class ControlPlane
{
    /// <summary>How much of the fair-share history may be lost with the process; little beside <see cref="QueueHistory.HalfLife"/>.</summary>
    private static readonly TimeSpan HistoryInterval = TimeSpan.FromSeconds(30);

    private readonly SpendingLedger spending;
    private DateTimeOffset historyStoredAt;

    /// <summary>Every queue's budget with what of it is used.</summary>
    public IReadOnlyDictionary<string, BudgetState> Budgets(DateTimeOffset now) => spending.States(
        queues.Values,
        gangs.Values.Where(gang => gang is { IsActive: true, Attempt: not null }).Select(gang => (gang.Queue, gang.Attempt!.Held)),
        now);

    /// <summary>Waiting gangs that their queue's budget keeps from starting, and why.</summary>
    private Dictionary<string, PendingReason> BeyondBudget(DateTimeOffset now)
    {
        var beyond = new Dictionary<string, PendingReason>();
        if (!queues.Values.Any(queue => queue.Budget is not null))
        {
            return beyond;
        }

        var budgets = Budgets(now);
        foreach (var gang in gangs.Values.Where(gang => gang.Stage == GangStage.Queued))
        {
            if (BudgetReason(gang, budgets, now) is { } reason)
            {
                beyond[gang.Gang] = reason;
            }
        }

        return beyond;
    }

    private PendingReason? BudgetReason(GangState gang, IReadOnlyDictionary<string, BudgetState> budgets, DateTimeOffset now)
    {
        for (string? name = gang.Queue; name is not null; name = queues.GetValueOrDefault(name)?.Parent)
        {
            if (!budgets.TryGetValue(name, out var state))
            {
                continue;
            }

            var shape = gang.Shape.Narrowest();
            var need = gang.ExpectedRuntime is { } runtime
                ? DeviceUse.Of((long)shape.DeviceSlots * shape.DeviceMilli, PriceOf(shape.DeviceKind), now, now + runtime)
                : default;
            if (state.Exhausted || state.Exceeds(need))
            {
                return Reason(state, need, now);
            }
        }

        return null;
    }

    private static PendingReason Reason(BudgetState state, DeviceUse need, DateTimeOffset now)
    {
        bool hours = state.Exhausted ? state.Used.DeviceHours >= state.Budget.DeviceHours : state.Used.DeviceHours + need.DeviceHours > state.Budget.DeviceHours;
        string unit = hours ? " device-hours" : "";
        string period = state.Budget.Per == BudgetPeriod.Month ? $" for {now.UtcDateTime:MMMM yyyy}" : "";
        string used = Figure(hours ? state.Used.DeviceHours : state.Used.Money), bound = Figure((hours ? state.Budget.DeviceHours : state.Budget.Money) ?? 0);
        string message = state.Exhausted
            ? $"Queue {state.Queue} has used {used} of its budget of {bound}{unit}{period}."
            : $"By its expected runtime it uses {Figure(hours ? need.DeviceHours : need.Money)}{unit}; queue {state.Queue} has used {used} of its budget of {bound}{period}.";
        var unblocks = new List<string> { $"a larger budget for queue {state.Queue}" };
        if (state.Budget.Since(now) is { } since)
        {
            unblocks.Add($"the budget begins anew on {since.AddMonths(1):yyyy-MM-dd} UTC");
        }

        return new PendingReason(PendingCode.Budget, message) { Unblocks = unblocks };
    }

    private static string Figure(double figure) => figure.ToString(Math.Abs(figure) is >= 0.01 or 0 ? "0.##" : "0.0e+0", CultureInfo.InvariantCulture);

    private double? PriceOf(string kind) => options.DevicePricePerHour.TryGetValue(kind, out double price) ? price : null;

    /// <summary>Marks the history to be stored when the last time is long enough ago.</summary>
    private void KeepHistory(DateTimeOffset now)
    {
        if (history.Average.Count > 0 && now - historyStoredAt >= HistoryInterval)
        {
            historyStoredAt = now;
            changes.History = true;
        }
    }
}
