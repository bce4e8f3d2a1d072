using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Conservative backfill (Mu'alem and Feitelson, IEEE TPDS 12(6), 2001): each gang that has to wait gets the earliest places
/// that running gangs, by their expected ends, and gangs before it leave, and keeps them. A later gang starts now only on
/// devices that no reservation needs before that gang is over; so none starts later than if nobody had gone before it.
/// </summary>
internal sealed class Timeline(DeviceLedger ledger, DateTimeOffset now)
{
    /// <summary>Reservations kept at once. Gangs beyond them wait without one, and hold up those behind them.</summary>
    public const int Limit = 16;

    private const int MomentsTried = 64;
    private readonly List<(DateTimeOffset End, GangPlacement Placement, RankRequest Rank)> endings = [];
    private readonly List<(DateTimeOffset Start, DateTimeOffset End, GangPlacement Placement, RankRequest Rank)> reserved = [];

    /// <summary>Whether another reservation may be kept.</summary>
    public bool HasRoom => reserved.Count < Limit;

    /// <summary>Notes when a gang that holds devices will be over. One that should be already is given a little longer.</summary>
    public void Ends(DateTimeOffset end, GangPlacement placement, RankRequest rank) =>
        endings.Add((end > now ? end : now + TimeSpan.FromMinutes(1), placement, rank));

    /// <summary>Keeps places for a gang from now on: others leave them for it.</summary>
    public void SetAside(GangPlacement placement, RankRequest rank, TimeSpan? runtime) =>
        reserved.Add((now, runtime is { } time ? now + time : DateTimeOffset.MaxValue, placement, rank));

    /// <summary>The gang has started: nothing is kept for it any more.</summary>
    public void Drop(string gang) => reserved.RemoveAll(entry => entry.Placement.Gang == gang);

    /// <summary>Keeps a gang that would start now off what others need before it is over.</summary>
    public void Withhold(LedgerScope scope, PendingGang gang, bool backfill)
    {
        foreach (var (start, _, placement, rank) in reserved)
        {
            // Without backfill nothing goes before a gang that waits; only places that were left for one are kept.
            bool matters = backfill || start <= now;
            if (matters && placement.Gang != gang.Gang && (gang.ExpectedRuntime is not { } time || start < now + time))
            {
                scope.Withhold(placement, rank);
            }
        }
    }

    /// <summary>Reserves the earliest places for a gang; null when no known end makes room for it.</summary>
    public DateTimeOffset? Reserve(PendingGang gang)
    {
        foreach (var moment in endings.Select(ending => ending.End).Concat(reserved.Where(entry => entry.End < DateTimeOffset.MaxValue).Select(entry => entry.End))
            .Where(moment => moment > now).Distinct().Order().Take(MomentsTried))
        {
            var until = gang.ExpectedRuntime is { } runtime ? moment + runtime : DateTimeOffset.MaxValue;
            using var scope = new LedgerScope(ledger);
            foreach (var (_, placement, rank) in endings.Where(ending => ending.End <= moment))
            {
                scope.Free(placement, rank);
            }

            foreach (var (_, _, placement, rank) in reserved.Where(entry => entry.Start < until && entry.End > moment))
            {
                scope.Withhold(placement, rank);
            }

            if (GangPlacer.TryPlace(gang, ledger) is { } found)
            {
                reserved.Add((moment, until, found, gang.Shape.Rank));
                return moment;
            }
        }

        return null;
    }
}
