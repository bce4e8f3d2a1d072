using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Data-parallel widths of elastic gangs that run. A gang that waits and finds no place asks them first, before anyone has to
/// leave: those of its own queue whose standing is not above its own, and those of other queues on borrowed quota when it stays
/// within its own. Each gives up as little width as will do and goes on from its checkpoint beside the one that asked.
/// Devices that nobody who waits can use go to a gang that runs below its widest, after it has run a while at one width.
/// <para>
/// Nothing moves to and fro: narrowing starts a gang that waited and ends none, so between arrivals and departures it happens at
/// most once for each gang that waits; widening takes only devices that are free and kept for nobody, so it makes nobody wait,
/// and each gang can only go up its finite list of widths. With both bounded, widths come to rest.
/// </para>
/// </summary>
internal static class Elasticity
{
    private const int Tried = 32;

    /// <summary>Gangs of one cycle that width is looked for; those behind them are looked at once these have theirs.</summary>
    public const int SearchesInCycle = 16;

    /// <summary>The least that elastic gangs have to give up so that the gang fits; null when that would not do.</summary>
    public static GangNarrowing? Narrow(
        PendingGang gang, IEnumerable<RunningGang> running, DeviceLedger ledger, QueueLedger queues, Timeline timeline, CycleOptions options, DateTimeOffset now)
    {
        if (!options.Elastic || !options.Preemption || !gang.MayPreempt)
        {
            return null;
        }

        var search = new Search(gang with { Shape = gang.Shape.Narrowest() }, ledger, queues, timeline, options.Backfill);
        bool withinOwn = Preemption.IsWithinOwn(gang, queues, search.Needed);
        var candidates = running
            .Where(other => other.MayYield && other.Rank.DeviceKind == gang.Shape.DeviceKind && now - other.RunningSince >= options.MinRuntime
                && (other.Queue == gang.Queue ? other.Standing <= gang.Standing : other.Borrows && withinOwn) && NarrowerThan(other) is not null)
            .OrderBy(other => other.Queue == gang.Queue ? 1 : 0).ThenBy(other => other.Standing).ThenByDescending(other => other.Milli)
            .ThenByDescending(other => other.RunningSince).ThenBy(other => other.Gang, StringComparer.Ordinal).Take(Tried).ToList();
        if (candidates.Count == 0)
        {
            return null;
        }

        // Nearly always not even all of them are enough; that is one question.
        if (search.Fits([.. candidates.Select(candidate => (candidate, Narrowest(candidate)))]) is null)
        {
            return null;
        }

        // Add one after the other, each as narrow as it can be, until the gang fits.
        var chosen = new List<(RunningGang Gang, GangShape To)>();
        foreach (var candidate in candidates)
        {
            chosen.Add((candidate, Narrowest(candidate)));
            if (search.Fits(chosen) is { } found)
            {
                return search.Spare(chosen, found);
            }
        }

        return null;
    }

    /// <summary>A gang that goes on at a greater width on devices that are idle and that nobody who waits can use; null for none.</summary>
    /// <param name="running">Gangs that run.</param>
    /// <param name="waiting">Gangs that wait after this cycle.</param>
    /// <param name="held">Kinds of device for which a gang waits that nobody may start before.</param>
    /// <param name="ledger">What is free.</param>
    /// <param name="queues">What queues may take.</param>
    /// <param name="timeline">What is kept for others.</param>
    /// <param name="options">Settings.</param>
    /// <param name="now">The time.</param>
    public static GangResize? Widen(
        IEnumerable<RunningGang> running, IReadOnlyList<GangDeferral> waiting, IReadOnlyCollection<string> held,
        DeviceLedger ledger, QueueLedger queues, Timeline timeline, CycleOptions options, DateTimeOffset now)
    {
        // One that is tried again in a moment may need what looks idle now.
        if (!options.Elastic || waiting.Any(deferral => deferral.Reason.Code == PendingCode.Backoff))
        {
            return null;
        }

        var candidates = running
            .Where(gang => gang.MayYield && gang.Shape is { NarrowerData.Count: > 0 } shape && WidthOf(gang) < shape.Mesh.Data && !held.Contains(shape.DeviceKind)
                && now - gang.RunningSince >= options.ElasticMinRuntime && !(gang.ExpectedEnd < now + options.ElasticMinRuntime))
            .OrderByDescending(gang => gang.Standing).ThenBy(gang => gang.Milli).ThenBy(gang => gang.Gang, StringComparer.Ordinal).Take(Tried);
        foreach (var gang in candidates)
        {
            var shape = gang.Shape ?? throw new InvalidOperationException($"{gang.Gang} has no shape.");
            int width = WidthOf(gang);
            using var scope = new LedgerScope(ledger);
            scope.Free(gang.Placement, gang.Rank);
            var self = Itself(gang, shape);
            timeline.Withhold(scope, self, options.Backfill);
            long available = Room(gang, queues);
            foreach (var wider in shape.AtEachWidth().TakeWhile(each => each.Mesh.Data > width))
            {
                bool withinQuota = ((long)wider.DeviceSlots * wider.DeviceMilli) - gang.Milli <= available;
                if (withinQuota && GangPlacer.TryPlace(self with { Shape = wider }, ledger) is { } found)
                {
                    return new GangResize(gang.Gang, found with { Borrows = gang.Borrows }, width, wider.Mesh.Data);
                }
            }
        }

        return null;
    }

    /// <summary>What it may take in addition. A gang within its queue's own quota stays so: others never take back what it grew by.</summary>
    private static long Room(RunningGang gang, QueueLedger queues)
    {
        string kind = gang.Rank.DeviceKind;
        long available = queues.Available(gang.Queue, kind);
        return gang.Borrows || !queues.IsLimited(gang.Queue, kind)
            ? available
            : Math.Min(available, (1000L * queues.NominalOf(gang.Queue, kind)) - queues.Used(gang.Queue, kind));
    }

    /// <summary>Why the gang that asked waits until the others are narrower.</summary>
    public static PendingReason Reason(PendingGang gang, GangNarrowing narrowing)
    {
        string who = string.Join(", ", narrowing.Resized.Select(resized => $"{resized.Gang} (data-parallel width {resized.From} to {resized.To})"));
        return new PendingReason(
            PendingCode.Reservation, $"It needs {PendingDiagnosis.Needs(gang.Shape)}; {who} {(narrowing.Resized.Count == 1 ? "narrows" : "narrow")} for it.")
        {
            Unblocks = [$"{string.Join(" and ", narrowing.Resized.Select(resized => resized.Gang))} {(narrowing.Resized.Count == 1 ? "has" : "have")} saved and stopped"],
        };
    }

    private static int WidthOf(RunningGang gang) =>
        gang.Shape is { } shape ? gang.Placement.Members.Sum(member => member.Ranks.Count) / (shape.Mesh.Tensor * shape.Mesh.Pipeline) : 0;

    /// <summary>Its shape at its narrowest width; null when it has come to that.</summary>
    private static GangShape? NarrowerThan(RunningGang gang) =>
        gang.Shape is { NarrowerData.Count: > 0 } shape && shape.Narrowest() is var narrowest && narrowest.Mesh.Data < WidthOf(gang) ? narrowest : null;

    private static GangShape Narrowest(RunningGang gang) => NarrowerThan(gang) ?? throw new InvalidOperationException($"{gang.Gang} cannot narrow.");

    private static PendingGang Itself(RunningGang gang, GangShape shape) =>
        new() { Gang = gang.Gang, Shape = shape, Queue = gang.Queue, Priority = gang.Priority, SubmittedAt = DateTimeOffset.UnixEpoch };

    /// <summary>Tries sets of gangs at narrower widths.</summary>
    private sealed class Search(PendingGang gang, DeviceLedger ledger, QueueLedger queues, Timeline timeline, bool backfill)
    {
        public long Needed => (long)gang.Shape.DeviceSlots * gang.Shape.DeviceMilli;

        /// <summary>Places for the gang and for each of these at its new width; null when they do not all fit.</summary>
        public GangNarrowing? Fits(IReadOnlyList<(RunningGang Gang, GangShape To)> chosen)
        {
            if (!WithinQuota(chosen))
            {
                return null;
            }

            using var scope = new LedgerScope(ledger);
            foreach (var (other, _) in chosen)
            {
                scope.Free(other.Placement, other.Rank);
            }

            timeline.Withhold(scope, gang, backfill);
            return Place(chosen, gangFirst: true) ?? Place(chosen, gangFirst: false);
        }

        /// <summary>Takes back, dearest first, whoever is not needed, and gives the others the greatest width that still leaves room.</summary>
        public GangNarrowing Spare(List<(RunningGang Gang, GangShape To)> chosen, GangNarrowing found)
        {
            foreach (var each in chosen.AsEnumerable().Reverse().ToList())
            {
                List<(RunningGang Gang, GangShape To)> without = [.. chosen.Where(other => other.Gang != each.Gang)];
                if (without.Count > 0 && Fits(without) is { } fewer)
                {
                    (chosen, found) = (without, fewer);
                }
            }

            for (int at = 0; at < chosen.Count; at++)
            {
                var (other, narrowest) = chosen[at];
                int width = WidthOf(other);
                foreach (var wider in (other.Shape ?? narrowest).AtEachWidth().Where(each => each.Mesh.Data < width && each.Mesh.Data > narrowest.Mesh.Data))
                {
                    List<(RunningGang Gang, GangShape To)> instead = [.. chosen];
                    instead[at] = (other, wider);
                    if (Fits(instead) is { } better)
                    {
                        (chosen, found) = (instead, better);
                        break;
                    }
                }
            }

            return found;
        }

        private GangNarrowing? Place(IReadOnlyList<(RunningGang Gang, GangShape To)> chosen, bool gangFirst)
        {
            using var scope = new LedgerScope(ledger);
            GangPlacement? own = null;
            if (gangFirst && (own = Take(scope, gang)) is null)
            {
                return null;
            }

            var resized = new List<GangResize>();
            foreach (var (other, to) in chosen)
            {
                if (Take(scope, Itself(other, to)) is not { } place)
                {
                    return null;
                }

                resized.Add(new GangResize(other.Gang, place with { Borrows = other.Borrows }, WidthOf(other), to.Mesh.Data));
            }

            own ??= Take(scope, gang);
            bool borrows = queues.IsLimited(gang.Queue, gang.Shape.DeviceKind) && !Preemption.IsWithinOwn(gang, queues, Needed);
            return own is null ? null : new GangNarrowing(gang.Gang, own with { Borrows = borrows }, resized);
        }

        private GangPlacement? Take(LedgerScope scope, PendingGang wanted)
        {
            var place = GangPlacer.TryPlace(wanted, ledger);
            if (place is not null)
            {
                scope.Withhold(place, wanted.Shape.Rank);
            }

            return place;
        }

        private bool WithinQuota(IReadOnlyList<(RunningGang Gang, GangShape To)> chosen)
        {
            foreach (var (other, to) in chosen)
            {
                queues.Add(other.Queue, to.DeviceKind, Change(other, to));
            }

            bool fits = queues.Available(gang.Queue, gang.Shape.DeviceKind) >= Needed;
            foreach (var (other, to) in chosen)
            {
                queues.Add(other.Queue, to.DeviceKind, -Change(other, to));
            }

            return fits;
        }

        private static long Change(RunningGang other, GangShape to) => ((long)to.DeviceSlots * to.DeviceMilli) - other.Milli;
    }
}
