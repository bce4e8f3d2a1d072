using Platform.Scheduling.Placement;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>One cycle of a core: the numbered steps of <see cref="SchedulingCycle"/>.</summary>
internal sealed class CycleRun
{
    private readonly SchedulingCore core;
    private readonly CycleInput input;
    private readonly DateTimeOffset now;
    private readonly DeviceLedger ledger;
    private readonly QueueLedger queues;
    private readonly Timeline timeline;
    private readonly WaitingOrder order;
    private readonly List<RunningGang> elastic;
    private readonly List<GangPlacement> placed = [];
    private readonly List<GangDeferral> deferred;
    private readonly List<GangPreemption> preempted = [];
    private readonly List<GangNarrowing> narrowed = [];
    private readonly Dictionary<string, string> firstInLine = [];
    private readonly Dictionary<(string Queue, string Kind), string> heldByQuota = [];
    private readonly HashSet<(ShapeClass Shape, string Queue, int Standing, TimeSpan? Runtime)> nobodyYields = [];
    private readonly HashSet<string> leaving = [];
    private YieldingGangs? yielding;
    private int widthSearches;
    private long usage;
    private long state;
    private int position;

    private CycleRun(SchedulingCore core, CycleInput input, DateTimeOffset now, Timeline timeline)
    {
        (this.core, this.input, this.now, this.timeline) = (core, input, now, timeline);
        (ledger, queues) = (core.Ledger, core.QueueLedger(input));
        elastic = [.. core.Elastic];
        deferred = new List<GangDeferral>(input.Waiting.Count);
        foreach (var entry in core.Nominated)
        {
            if (entry.Gang.Nominated is { } places)
            {
                timeline.SetAside(places, entry.Gang.Shape.Rank, entry.Gang.ExpectedRuntime);
                queues.Add(entry.Gang.Queue, entry.Gang.Shape.DeviceKind, MilliOf(places, entry.Class));
            }
        }

        foreach (var gang in core.Returning)
        {
            if (gang.Returns is { } back)
            {
                timeline.SetAside(back, gang.Rank, null);
            }
        }

        // What an earlier cycle found out about queues does not count in this one.
        usage = core.Cycle << 32;
        order = new WaitingOrder(core.Lines.Values, queues);
    }

    public static CyclePlan Decide(SchedulingCore core, CycleInput input, DateTimeOffset now)
    {
        using var timeline = core.Timeline(now);
        return new CycleRun(core, input, now, timeline).Decide();
    }

    /// <summary>1. Order.</summary>
    private CyclePlan Decide()
    {
        while (order.Next() is { } entry)
        {
            position++;
            Decide(entry);
        }

        // 7. What nobody who waits can use, elastic gangs may.
        var widened = elastic.Count == 0 ? null : Elasticity.Widen(elastic, deferred, firstInLine.Keys, ledger, queues, timeline, input.Options, now);
        return new CyclePlan(placed, deferred) { Preempted = preempted, Narrowed = narrowed, Widened = widened is null ? [] : [widened] };
    }

    private void Decide(WaitingEntry entry)
    {
        var (gang, shape) = (entry.Gang, entry.Class.In(core.Cycle));
        string kind = shape.Kind;

        // 2. Not yet.
        if (gang.NotBefore > now)
        {
            Defer(gang, Backoff(gang));
            return;
        }

        // 3. Quota. Only gangs of the same queue wait for it.
        if (heldByQuota.Count > 0 && heldByQuota.TryGetValue((gang.Queue, kind), out string? sibling))
        {
            Defer(gang, Behind(shape, sibling, "is before it in the queue and waits for quota"));
            return;
        }

        // What is kept for it counts as used by its queue, but not against itself.
        long kept = gang.Nominated is { } places ? MilliOf(places, shape) : 0;
        queues.Add(gang.Queue, kind, -kept);
        long available = kept > 0 ? queues.Available(gang.Queue, kind) : Room(entry.Line, kind);
        bool withinQuota = available >= shape.Needed;

        // 4. Places for the whole gang, off those that are set aside for others.
        string? first = gang.Nominated is null ? firstInLine.GetValueOrDefault(kind) : null;
        GangPlacement? place = null;
        bool fits = withinQuota && Fits(gang, shape.IsElastic ? core.ClassOf(gang.Shape.AtMost(available)).In(core.Cycle) : shape, first is null, out place);
        if (fits && first is not null)
        {
            Defer(gang, Behind(shape, first, "goes first and waits for them"));
            return;
        }

        if (place is not null)
        {
            Start(gang, place);
            return;
        }

        // 5. Others may make room; once they were asked it waits until they have.
        queues.Add(gang.Queue, kind, kept);
        if (gang.Nominated is not null)
        {
            Defer(gang, new PendingReason(PendingCode.Reservation, $"It needs {PendingDiagnosis.Needs(gang.Shape)}; devices are set aside for it, and the gangs on them are leaving."));
            return;
        }

        if (OthersMakeRoom(gang, shape))
        {
            return;
        }

        if (!withinQuota)
        {
            Defer(gang, OverQuota(gang, shape.Needed));
            if (queues.Largest(gang.Queue, kind) >= shape.Needed)
            {
                heldByQuota[(gang.Queue, kind)] = gang.Gang;
            }

            return;
        }

        Wait(gang, shape);
    }

    /// <summary>Whether the gang fits now, and where, if that is wanted. What one gang of a shape found out holds for the others.</summary>
    private bool Fits(PendingGang gang, ShapeClass shape, bool wanted, out GangPlacement? place)
    {
        place = null;
        var own = shape.IsElastic || gang.Shape.NarrowerData.Count > 0 ? gang with { Shape = shape.Shape } : gang;
        if (gang.AvoidNodes.Count > 0 || gang.Nominated is not null)
        {
            place = GangPlacer.TryPlace(own, timeline.LedgerFor(own, input.Options.Backfill));
            return place is not null;
        }

        var until = gang.ExpectedRuntime is { } runtime ? now + runtime : DateTimeOffset.MaxValue;
        if (shape.RefusedAt == core.FreedVersion || shape.RefusedFrom <= until)
        {
            return false;
        }

        if (!wanted && shape.Fits is { } known && known.State == state && known.Until >= until)
        {
            return true;
        }

        bool bound = timeline.Binds(own, input.Options.Backfill);
        place = bound ? null : GangPlacer.TryPlace(own, ledger);
        bool hasRoom = bound ? GangPlacer.Fits(own, ledger) : place is not null;
        if (!hasRoom && placed.Count == 0)
        {
            shape.RefusedAt = core.FreedVersion;
            return false;
        }

        if (bound && hasRoom)
        {
            place = GangPlacer.TryPlace(own, timeline.LedgerFor(own, input.Options.Backfill));
        }

        if (place is not null)
        {
            shape.Fits = (state, until);
            return true;
        }

        shape.RefusedFrom = shape.RefusedFrom < until ? shape.RefusedFrom : until;
        return false;
    }

    private long Room(WaitingLine line, string kind)
    {
        if (line.Room is not { } known || known.State != usage || known.Kind != kind)
        {
            line.Room = known = (usage, kind, queues.Available(line.Queue, kind));
        }

        return known.Milli;
    }

    /// <summary>Gangs that run give up width or leave for this one, as they are asked here.</summary>
    private bool OthersMakeRoom(PendingGang gang, ShapeClass shape)
    {
        if (!input.Options.Preemption || !gang.MayPreempt)
        {
            return false;
        }

        yielding ??= new YieldingGangs(core.Running.Values, input.Options, now);
        bool mayYield = yielding.MayYieldTo(gang);
        if (elastic.Count == 0 && !mayYield)
        {
            return false;
        }

        var question = (shape, gang.Queue, gang.Standing, gang.ExpectedRuntime);
        if (nobodyYields.Contains(question))
        {
            return false;
        }

        if (elastic.Count > 0 && widthSearches++ < Elasticity.SearchesInCycle
            && Elasticity.Narrow(gang, elastic, ledger, queues, timeline, input.Options, now) is { } width)
        {
            Narrow(gang, width);
            return true;
        }

        var running = leaving.Count == 0 ? core.Running.Values : core.Running.Values.Where(other => !leaving.Contains(other.Gang));
        if (mayYield && Preemption.Find(gang, running, ledger, queues, timeline, input.Options, now) is { } room)
        {
            MakeRoom(gang, room);
            return true;
        }

        nobodyYields.Add(question);
        return false;
    }

    private void Start(PendingGang gang, GangPlacement place)
    {
        var rank = gang.Shape.Rank;
        long milli = MilliOf(place, rank);
        bool borrows = gang.Nominated is { } kept ? kept.Borrows : queues.IsLimited(gang.Queue, rank.DeviceKind) && !Preemption.IsWithinOwn(gang, queues, milli);
        timeline.Drop(gang.Gang);
        timeline.Take(place, rank, gang.ExpectedRuntime);
        Use(gang, milli);
        placed.Add(place with { Borrows = borrows });
    }

    private void MakeRoom(PendingGang gang, GangPreemption room)
    {
        foreach (string victim in room.Victims)
        {
            leaving.Add(victim);
        }

        elastic.RemoveAll(other => room.Victims.Contains(other.Gang));
        timeline.SetAside(room.Placement, gang.Shape.Rank, gang.ExpectedRuntime);
        Use(gang, MilliOf(room.Placement, gang.Shape.Rank));
        preempted.Add(room);
        Defer(gang, new PendingReason(
            PendingCode.Reservation, $"It needs {PendingDiagnosis.Needs(gang.Shape)}; {string.Join(", ", room.Victims)} {(room.Victims.Count == 1 ? "makes" : "make")} room for it.")
        {
            Unblocks = [$"{string.Join(" and ", room.Victims)} {(room.Victims.Count == 1 ? "has" : "have")} saved and stopped"],
        });
    }

    private void Narrow(PendingGang gang, GangNarrowing width)
    {
        foreach (var resized in width.Resized)
        {
            timeline.SetAside(resized.Placement, core.Running[resized.Gang].Rank, null);
            leaving.Add(resized.Gang);
            elastic.RemoveAll(other => other.Gang == resized.Gang);
        }

        timeline.SetAside(width.Placement, gang.Shape.Rank, gang.ExpectedRuntime);
        Use(gang, MilliOf(width.Placement, gang.Shape.Rank));
        narrowed.Add(width);
        Defer(gang, Elasticity.Reason(gang, width));
    }

    /// <summary>What a queue uses has changed: shares, and what queues may still take.</summary>
    private void Use(PendingGang gang, long milli)
    {
        queues.Add(gang.Queue, gang.Shape.DeviceKind, milli);
        usage++;
        state++;
        order.SharesChanged();
    }

    /// <summary>6. A reservation for the gang, or its place at the head of the line; and what is missing.</summary>
    private void Wait(PendingGang gang, ShapeClass shape)
    {
        var why = shape.Why ??= PendingDiagnosis.Explain(gang, ledger, core.Empty);
        if (firstInLine.ContainsKey(shape.Kind) || why.Code == PendingCode.NodeHealth || !core.Empty.InService(gang.Shape))
        {
            Defer(gang, why);
            return;
        }

        if (input.Options.Backfill && timeline.HasRoom && timeline.Reserve(gang) is { } start)
        {
            state++;
            Defer(gang, why with { Causes = [.. why.Causes, Reserved(start)] }, start);
            return;
        }

        firstInLine[shape.Kind] = gang.Gang;
        Defer(gang, why);
    }

    private static long MilliOf(GangPlacement place, ShapeClass shape) => MilliOf(place, shape.Shape.Rank);

    private static long MilliOf(GangPlacement place, RankRequest rank) => place.Members.Sum(member => (long)member.Ranks.Count) * rank.TotalMilli;

    private PendingReason Reserved(DateTimeOffset start) => new(
        PendingCode.Reservation, $"Devices are reserved for it in {Math.Ceiling((start - now).TotalSeconds):0} s, when gangs before it are expected to have ended.");

    private void Defer(PendingGang gang, PendingReason reason, DateTimeOffset? start = null) =>
        deferred.Add(new GangDeferral(gang.Gang, reason, position) { EstimatedStart = start });

    private static PendingReason Behind(ShapeClass shape, string first, string because)
    {
        if (shape.Behind is not { } known || known.First != first || known.Because != because)
        {
            shape.Behind = known = (first, because, new PendingReason(
                PendingCode.Priority, $"It needs {PendingDiagnosis.Needs(shape.Shape)}, which are free, but {first} {because}.")
            {
                Unblocks = [$"{first} starts or is cancelled", $"a priority above that of {first}"],
            });
        }

        return known.Reason;
    }

    private PendingReason OverQuota(PendingGang gang, long needed)
    {
        string kind = gang.Shape.DeviceKind;
        long available = queues.Available(gang.Queue, kind), largest = queues.Largest(gang.Queue, kind);
        return new PendingReason(
            PendingCode.Quota,
            $"It needs {PendingDiagnosis.Needs(gang.Shape)}; queue {gang.Queue} uses {PendingDiagnosis.Devices(queues.Used(gang.Queue, kind))} of its own "
            + $"{queues.NominalOf(gang.Queue, kind)} and may take {PendingDiagnosis.Devices(available)} more now, {PendingDiagnosis.Devices(largest)} in all.")
        {
            Unblocks = largest < needed
                ? [$"a quota of {PendingDiagnosis.Devices(needed - largest)} more {kind} devices for queue {gang.Queue}"]
                : [$"{PendingDiagnosis.Devices(needed - available)} {kind} devices of the queue or of those that borrow from it become free"],
        };
    }

    private PendingReason Backoff(PendingGang gang)
    {
        double seconds = Math.Ceiling((gang.NotBefore.GetValueOrDefault(now) - now).TotalSeconds);
        return new PendingReason(PendingCode.Backoff, $"Its last attempt failed; it is tried again in {seconds} s.")
        {
            Unblocks = [$"{seconds} s pass"],
        };
    }
}
