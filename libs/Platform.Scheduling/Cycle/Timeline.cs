using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>A gang that holds devices, and when it will be over.</summary>
internal sealed record Ending(DateTimeOffset End, string Gang, IReadOnlyList<HeldPlaces> Places, RankRequest Rank) : IComparable<Ending>
{
    public int CompareTo(Ending? other) => other is null ? 1 : End != other.End ? End.CompareTo(other.End) : string.CompareOrdinal(Gang, other.Gang);
}

/// <summary>
/// Conservative backfill (Mu'alem and Feitelson, IEEE TPDS 12(6), 2001): each gang that has to wait gets the earliest places
/// that running gangs, by their expected ends, and gangs before it leave, and keeps them. A later gang starts now only on
/// devices that no reservation needs before that gang is over; so none starts later than if nobody had gone before it.
/// </summary>
/// <remarks>
/// Two further ledgers follow the cycle's: one in which places are kept for others as far as the last gang that was asked for
/// has to heed them, and one at a moment to come. Both move from one question to the next by what differs between them.
/// </remarks>
/// <param name="ledger">What is free now.</param>
/// <param name="another">Makes another ledger like it; it keeps the first it made from cycle to cycle.</param>
/// <param name="endings">Gangs that hold devices and whose ends are expected, by end.</param>
/// <param name="now">The time.</param>
internal sealed class Timeline(DeviceLedger ledger, Func<int, DeviceLedger> another, IReadOnlyList<Ending> endings, DateTimeOffset now) : IDisposable
{
    /// <summary>Reservations kept at once. Gangs beyond them wait without one, and hold up those behind them.</summary>
    public const int Limit = 16;

    private const int MomentsTried = 64;

    /// <summary>What a gang that should be over already is given.</summary>
    private static readonly TimeSpan Overtime = TimeSpan.FromMinutes(1);

    private readonly IReadOnlyList<Ending> endings = endings;
    private readonly DateTimeOffset now = now;
    private readonly List<Kept> kept = [];
    private readonly List<(IReadOnlyList<HeldPlaces> Places, RankRequest Rank)> taken = [];
    private readonly List<Ending> started = [];
    private readonly List<DateTimeOffset> soonest = [];
    private readonly int overdue = CountBy(endings, now);
    private DeviceLedger? heeding;
    private DeviceLedger? later;
    private DateTimeOffset reached = now;
    private int freed;

    /// <summary>A timeline for one question about a ledger of which nothing has been taken.</summary>
    public Timeline(DeviceLedger ledger, DateTimeOffset now)
        : this(ledger, _ => ledger.Anew(), [], now)
    {
    }

    /// <summary>Whether another reservation may be kept.</summary>
    public bool HasRoom => kept.Count < Limit;

    /// <summary>Gives a gang its places.</summary>
    public void Take(GangPlacement placement, RankRequest rank, TimeSpan? runtime)
    {
        var places = ledger.PlacesOf(placement);
        ledger.Take(places, rank);
        heeding?.Retake(places, rank);
        later?.Retake(places, rank);
        taken.Add((places, rank));
        if (runtime is { } time)
        {
            var ending = new Ending(now + (time > TimeSpan.Zero ? time : Overtime), placement.Gang, places, rank);
            started.Add(ending);
            if (ending.End <= reached)
            {
                later?.Release(places, rank);
            }
        }
    }

    /// <summary>Notes when a gang that holds devices will be over. One that should be already is given a little longer.</summary>
    public void Ends(DateTimeOffset end, GangPlacement placement, RankRequest rank) =>
        started.Add(new Ending(end > now ? end : now + Overtime, placement.Gang, ledger.PlacesOf(placement), rank));

    /// <summary>Keeps places for a gang from now on: others leave them for it.</summary>
    public void SetAside(GangPlacement placement, RankRequest rank, TimeSpan? runtime) =>
        kept.Add(new Kept(now, runtime is { } time ? now + time : DateTimeOffset.MaxValue, placement.Gang, ledger.PlacesOf(placement), rank));

    /// <summary>The gang has started: nothing is kept for it any more.</summary>
    public void Drop(string gang)
    {
        foreach (var each in kept.Where(each => each.Gang == gang))
        {
            Heed(each, false);
            Reckon(each, false);
        }

        kept.RemoveAll(each => each.Gang == gang);
    }

    /// <summary>Keeps a gang that would start now off what others need before it is over.</summary>
    public void Withhold(LedgerScope scope, PendingGang gang, bool backfill)
    {
        foreach (var each in kept)
        {
            if (each.Matters(gang, backfill, now))
            {
                scope.Withhold(each.Places, each.Rank);
            }
        }
    }

    /// <summary>Whether a gang that would start now has to heed anything that is kept for others.</summary>
    public bool Binds(PendingGang gang, bool backfill)
    {
        foreach (var each in kept)
        {
            if (each.Matters(gang, backfill, now))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>What a gang may take that would start now; valid until the next question.</summary>
    public DeviceLedger LedgerFor(PendingGang gang, bool backfill)
    {
        if (!Binds(gang, backfill))
        {
            return ledger;
        }

        if (heeding is null)
        {
            heeding = another(0);
            foreach (var (places, rank) in taken)
            {
                heeding.Retake(places, rank);
            }
        }

        foreach (var each in kept)
        {
            Heed(each, each.Matters(gang, backfill, now));
        }

        return heeding;
    }

    /// <summary>Reserves the earliest places for a gang; null when no known end makes room for it.</summary>
    public DateTimeOffset? Reserve(PendingGang gang)
    {
        if (later is null)
        {
            later = another(1);
            foreach (var (places, rank) in taken)
            {
                later.Retake(places, rank);
            }
        }

        foreach (var moment in Moments())
        {
            var until = gang.ExpectedRuntime is { } runtime ? moment + runtime : DateTimeOffset.MaxValue;
            MoveTo(moment);
            foreach (var each in kept)
            {
                Reckon(each, each.Start < until && each.End > moment);
            }

            if (GangPlacer.TryPlace(gang, later) is { } found)
            {
                kept.Add(new Kept(moment, until, gang.Gang, ledger.PlacesOf(found), gang.Shape.Rank));
                return moment;
            }
        }

        return null;
    }

    /// <summary>Leaves the further ledgers as they were before the cycle, but for what was taken on them and on the first.</summary>
    public void Dispose()
    {
        MoveTo(now);
        foreach (var each in kept)
        {
            Heed(each, false);
            Reckon(each, false);
        }

        foreach (var (places, rank) in taken)
        {
            ledger.Release(places, rank);
            heeding?.Release(places, rank);
            later?.Release(places, rank);
        }

        taken.Clear();
    }

    private static int CountBy(IReadOnlyList<Ending> endings, DateTimeOffset time)
    {
        int low = 0, high = endings.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = endings[middle].End <= time ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    /// <summary>The next moments at which something becomes free, the soonest first.</summary>
    private List<DateTimeOffset> Moments()
    {
        if (soonest.Count == 0)
        {
            if (overdue > 0)
            {
                soonest.Add(now + Overtime);
            }

            for (int at = overdue; at < endings.Count && soonest.Count <= MomentsTried; at++)
            {
                if (at == overdue || endings[at].End != endings[at - 1].End)
                {
                    soonest.Add(endings[at].End);
                }
            }
        }

        List<DateTimeOffset> moments = [.. soonest];
        foreach (var ending in started)
        {
            moments.Add(ending.End);
        }

        foreach (var each in kept)
        {
            if (each.End < DateTimeOffset.MaxValue && each.End > now)
            {
                moments.Add(each.End);
            }
        }

        moments.Sort();
        int distinct = 0;
        for (int at = 0; at < moments.Count && distinct < MomentsTried; at++)
        {
            if (distinct == 0 || moments[at] != moments[distinct - 1])
            {
                moments[distinct++] = moments[at];
            }
        }

        moments.RemoveRange(distinct, moments.Count - distinct);
        return moments;
    }

    /// <summary>Frees what has ended by a moment on the later ledger, and takes back what ends after it.</summary>
    private void MoveTo(DateTimeOffset moment)
    {
        if (later is null || moment == reached)
        {
            return;
        }

        bool over = moment >= now + Overtime, was = reached >= now + Overtime;
        for (int at = 0; over != was && at < overdue; at++)
        {
            Set(endings[at], over);
        }

        for (; overdue + freed < endings.Count && endings[overdue + freed].End <= moment; freed++)
        {
            Set(endings[overdue + freed], true);
        }

        for (; freed > 0 && endings[overdue + freed - 1].End > moment; freed--)
        {
            Set(endings[overdue + freed - 1], false);
        }

        foreach (var ending in started)
        {
            if ((ending.End <= moment) != (ending.End <= reached))
            {
                Set(ending, ending.End <= moment);
            }
        }

        reached = moment;

        void Set(Ending ending, bool free)
        {
            if (free)
            {
                later.Release(ending.Places, ending.Rank);
            }
            else
            {
                later.Retake(ending.Places, ending.Rank);
            }
        }
    }

    private void Heed(Kept each, bool withheld)
    {
        if (heeding is not null && each.Heeded != withheld)
        {
            heeding.Withhold(each.Places, each.Rank, withheld);
            each.Heeded = withheld;
        }
    }

    private void Reckon(Kept each, bool withheld)
    {
        if (later is not null && each.Reckoned != withheld)
        {
            later.Withhold(each.Places, each.Rank, withheld);
            each.Reckoned = withheld;
        }
    }

    /// <summary>Places that are kept for a gang from a time on until another.</summary>
    private sealed class Kept(DateTimeOffset start, DateTimeOffset end, string gang, IReadOnlyList<HeldPlaces> places, RankRequest rank)
    {
        public DateTimeOffset Start => start;

        public DateTimeOffset End => end;

        public string Gang => gang;

        public IReadOnlyList<HeldPlaces> Places => places;

        public RankRequest Rank => rank;

        /// <summary>Whether they are withheld on the ledger for gangs that would start now.</summary>
        public bool Heeded { get; set; }

        /// <summary>Whether they are withheld on the ledger of a moment to come.</summary>
        public bool Reckoned { get; set; }

        /// <summary>Whether a gang that would start now has to leave them. Without backfill only places that were left for one are kept.</summary>
        public bool Matters(PendingGang other, bool backfill, DateTimeOffset now) =>
            (backfill || start <= now) && gang != other.Gang && (other.ExpectedRuntime is not { } time || start < now + time);
    }
}
