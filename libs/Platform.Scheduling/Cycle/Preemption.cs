using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Which running gangs have to leave, whole, so that a waiting one fits. A gang may ask
/// (a) gangs of its own queue with a strictly lower priority, and
/// (b) gangs of other queues that were placed on borrowed quota, when it stays within its own queue's quota.
/// Two gangs never ask each other in turn: by (a) priorities within one queue would each have to be lower than the other; by
/// (b) the one that asked was placed within its quota, so it does not borrow and cannot be asked by (b); and (a) needs one
/// queue where (b) needs two.
/// </summary>
internal static class Preemption
{
    /// <summary>The cheapest set found and the place it makes; null when none would do.</summary>
    public static GangPreemption? Find(
        PendingGang gang, IEnumerable<RunningGang> running, DeviceLedger ledger, QueueLedger queues, CycleOptions options, DateTimeOffset now)
    {
        if (!options.Preemption || !gang.MayPreempt)
        {
            return null;
        }

        long needed = gang.Shape.Narrowest().DeviceSlots * (long)gang.Shape.DeviceMilli;
        bool withinOwn = IsWithinOwn(gang, queues, needed);
        var candidates = running
            .Where(victim => victim.MayYield && victim.Rank.DeviceKind == gang.Shape.DeviceKind && now - victim.RunningSince >= options.MinRuntime
                && (victim.Queue == gang.Queue ? victim.Priority < gang.Priority : victim.Borrows && withinOwn))
            .OrderBy(victim => victim.Queue == gang.Queue ? 1 : 0).ThenBy(victim => victim.Priority).ThenBy(victim => Cost(victim, now))
            .ThenByDescending(victim => victim.RunningSince).ThenBy(victim => victim.Gang, StringComparer.Ordinal).ToList();

        // Add the cheapest until the gang fits, then take back, dearest first, whoever is not needed.
        var chosen = new List<RunningGang>();
        while (!Fits(gang, chosen, ledger, queues, needed))
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
            if (without.Count > 0 && Fits(gang, without, ledger, queues, needed))
            {
                chosen = without;
            }
        }

        using var scope = Without(chosen, ledger);
        return chosen.Count > 0 && GangPlacer.TryPlace(gang, ledger) is { } place
            ? new GangPreemption(gang.Gang, place with { Borrows = !withinOwn && queues.IsLimited(gang.Queue, gang.Shape.DeviceKind) }, [.. chosen.Select(victim => victim.Gang)])
            : null;
    }

    /// <summary>Whether the gang keeps its queue within what is its own.</summary>
    public static bool IsWithinOwn(PendingGang gang, QueueLedger queues, long milli)
    {
        string kind = gang.Shape.DeviceKind;
        return queues.IsLimited(gang.Queue, kind) && queues.Used(gang.Queue, kind) + milli <= 1000L * queues.NominalOf(gang.Queue, kind);
    }

    /// <summary>Device-seconds of work that are lost with a gang.</summary>
    private static double Cost(RunningGang victim, DateTimeOffset now) =>
        victim.Milli * Math.Max(0, (now - (victim.SavedAt ?? victim.RunningSince ?? now)).TotalSeconds);

    private static bool Fits(PendingGang gang, List<RunningGang> victims, DeviceLedger ledger, QueueLedger queues, long needed)
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

        using var scope = Without(victims, ledger);
        return quota && GangPlacer.TryPlace(gang, ledger) is not null;
    }

    private static LedgerScope Without(List<RunningGang> victims, DeviceLedger ledger)
    {
        var scope = new LedgerScope(ledger);
        foreach (var victim in victims)
        {
            scope.Free(victim.Placement, victim.Rank);
        }

        return scope;
    }
}
