using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Which running gangs have to leave, whole, so that a waiting one fits. Jobs and replicas alike may ask
/// (a) gangs of their own queue with a strictly lower standing, and
/// (b) gangs of other queues that were placed on borrowed quota, when they stay within their own queue's quota.
/// A gang's standing is its priority; among equals a replica beyond its deployment's minimum stands below all others, so that
/// what a deployment has for its load makes room for a job of the same priority and what it needs at least does not.
/// Two gangs never ask each other in turn: by (a) standings within one queue would each have to be lower than the other; by
/// (b) the one that asked was placed within its quota, so it does not borrow and cannot be asked by (b); and (a) needs one
/// queue where (b) needs two.
/// </summary>
internal static class Preemption
{
    /// <summary>The cheapest set found and the place it makes; null when none would do.</summary>
    public static GangPreemption? Find(
        PendingGang gang, IEnumerable<RunningGang> running, DeviceLedger ledger, QueueLedger queues, Timeline timeline, CycleOptions options, DateTimeOffset now)
    {
        if (!options.Preemption || !gang.MayPreempt)
        {
            return null;
        }

        long needed = gang.Shape.Narrowest().DeviceSlots * (long)gang.Shape.DeviceMilli;
        bool withinOwn = IsWithinOwn(gang, queues, needed);
        var candidates = running
            .Where(victim => victim.MayYield && victim.Rank.DeviceKind == gang.Shape.DeviceKind && now - victim.RunningSince >= options.MinRuntime
                && (victim.Queue == gang.Queue ? victim.Standing < gang.Standing : victim.Borrows && withinOwn))
            .OrderBy(victim => victim.Queue == gang.Queue ? 1 : 0).ThenBy(victim => victim.Standing).ThenBy(victim => Cost(victim, now))
            .ThenByDescending(victim => victim.RunningSince).ThenBy(victim => victim.Gang, StringComparer.Ordinal).ToList();

        // Add the cheapest until the gang fits, then take back, dearest first, whoever is not needed.
        var chosen = new List<RunningGang>();
        while (!Fits(gang, chosen, ledger, queues, timeline, needed))
        {
            if (chosen.Count == candidates.Count)
            {
                return null;
            }

            chosen.Add(candidates[chosen.Count]);
        }

        foreach (var spared in chosen.AsEnumerable().Reverse().ToList())
        {
            List<RunningGang> without = [.. chosen.Where(victim => victim != spared)];
            if (without.Count > 0 && Fits(gang, without, ledger, queues, timeline, needed))
            {
                chosen = without;
            }
        }

        using var scope = Without(gang, chosen, ledger, timeline);
        return chosen.Count > 0 && GangPlacer.TryPlace(gang, ledger) is { } place
            ? new GangPreemption(gang.Gang, place with { Borrows = !withinOwn && queues.IsLimited(gang.Queue, gang.Shape.DeviceKind) }, [.. chosen.Select(victim => victim.Gang)])
            : null;
    }

    /// <summary>A gang's rank within its queue: its priority, and below it when it is a replica beyond the minimum.</summary>
    public static int Standing(int priority, bool surplus) => (int)Math.Clamp((2L * priority) + (surplus ? 0 : 1), int.MinValue, int.MaxValue);

    /// <summary>Whether the gang keeps its queue within what is its own.</summary>
    public static bool IsWithinOwn(PendingGang gang, QueueLedger queues, long milli)
    {
        string kind = gang.Shape.DeviceKind;
        return queues.IsLimited(gang.Queue, kind) && queues.Used(gang.Queue, kind) + milli <= 1000L * queues.NominalOf(gang.Queue, kind);
    }

    /// <summary>Device-seconds of work that are lost with a gang.</summary>
    private static double Cost(RunningGang victim, DateTimeOffset now) =>
        victim.Milli * Math.Max(0, (now - (victim.SavedAt ?? victim.RunningSince ?? now)).TotalSeconds);

    private static bool Fits(PendingGang gang, List<RunningGang> victims, DeviceLedger ledger, QueueLedger queues, Timeline timeline, long needed)
    {
        foreach (var victim in victims)
        {
            queues.Add(victim.Queue, victim.Rank.DeviceKind, -victim.Milli);
        }

        bool quota = queues.Available(gang.Queue, gang.Shape.DeviceKind) >= needed;
        foreach (var victim in victims)
        {
            queues.Add(victim.Queue, victim.Rank.DeviceKind, victim.Milli);
        }

        using var scope = Without(gang, victims, ledger, timeline);
        return quota && GangPlacer.TryPlace(gang, ledger) is not null;
    }

    /// <summary>Without the victims, and without what others have left for somebody else.</summary>
    private static LedgerScope Without(PendingGang gang, List<RunningGang> victims, DeviceLedger ledger, Timeline timeline)
    {
        var scope = new LedgerScope(ledger);
        foreach (var victim in victims)
        {
            scope.Free(victim.Placement, victim.Rank);
        }

        timeline.Withhold(scope, gang, backfill: false);
        return scope;
    }
}
