using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// One scheduling cycle: a function of a snapshot. The queue with the smallest weighted dominant share goes next, with its
/// gang of the highest priority, then of the earliest submission; each gang is placed whole or not at all. A gang that waits
/// for devices the cluster has gets a reservation, or keeps later ones of its device kind waiting, so that a stream of small
/// gangs cannot starve a large one; a gang that could not run even on the empty nodes in service holds nobody up.
/// </summary>
public static class SchedulingCycle
{
    /// <summary>Decides for gangs of queues without quotas on nodes where nothing ends and nothing makes room.</summary>
    public static CyclePlan Decide(ClusterSnapshot cluster, IReadOnlyList<PendingGang> waiting, DateTimeOffset now) =>
        Decide(new CycleInput { Cluster = cluster, Waiting = waiting }, now);

    /// <summary>Decides which of the waiting gangs start now, who makes room for them, and why each other one waits.</summary>
    public static CyclePlan Decide(CycleInput input, DateTimeOffset now) => new Run(input, now).Decide();

    private sealed class Run
    {
        private readonly CycleInput input;
        private readonly DateTimeOffset now;
        private readonly DeviceLedger ledger;
        private readonly QueueLedger queues;
        private readonly Timeline timeline;
        private readonly Dictionary<string, RunningGang> running;
        private readonly List<RunningGang> elastic;
        private int widthSearches;
        private readonly List<GangPlacement> placed = [];
        private readonly List<GangDeferral> deferred = [];
        private readonly List<GangPreemption> preempted = [];
        private readonly List<GangNarrowing> narrowed = [];
        private readonly Dictionary<string, string> firstInLine = [];
        private readonly Dictionary<(string Queue, string Kind), string> heldByQuota = [];
        private readonly HashSet<(GangShape Shape, TimeSpan? Runtime)> fitsNowhere = [];
        private readonly Dictionary<GangShape, PendingReason> explained = [];
        private int position;

        public Run(CycleInput input, DateTimeOffset now)
        {
            (this.input, this.now) = (input, now);
            ledger = input.DeviceLedger();
            queues = input.QueueLedger();
            timeline = new Timeline(ledger, now);
            running = input.Running.ToDictionary(gang => gang.Gang);
            elastic = [.. input.Running.Where(gang => gang.Shape is { NarrowerData.Count: > 0 })];
            foreach (var gang in input.Waiting)
            {
                if (gang.Nominated is { } places)
                {
                    timeline.SetAside(places, gang.Shape.Rank, gang.ExpectedRuntime);
                    queues.Add(gang.Queue, gang.Shape.DeviceKind, MilliOf(places, gang));
                }
            }

            foreach (var gang in input.Running)
            {
                if (gang.Returns is { } back)
                {
                    timeline.SetAside(back, gang.Rank, null);
                }

                if (gang.ExpectedEnd is { } end)
                {
                    timeline.Ends(end, gang.Placement, gang.Rank);
                }
            }
        }

        public CyclePlan Decide()
        {
            foreach (var gang in InOrder())
            {
                position++;
                Decide(gang);
            }

            // 7. What nobody who waits can use, elastic gangs may.
            var widened = Elasticity.Widen(elastic, deferred, firstInLine.Keys, ledger, queues, timeline, input.Options, now);
            return new CyclePlan(placed, deferred) { Preempted = preempted, Narrowed = narrowed, Widened = widened is null ? [] : [widened] };
        }

        /// <summary>1. Order: shares change as gangs are placed, so the next queue is chosen anew each time.</summary>
        private IEnumerable<PendingGang> InOrder()
        {
            var heads = input.Waiting.GroupBy(gang => gang.Queue).OrderBy(queue => queue.Key, StringComparer.Ordinal)
                .Select(queue => (queue.Key, Gangs: new Queue<PendingGang>(queue
                    .OrderByDescending(gang => gang.Priority).ThenBy(gang => gang.SubmittedAt).ThenBy(gang => gang.Gang, StringComparer.Ordinal)))).ToList();
            while (heads.Count > 0)
            {
                var next = heads.Count == 1 ? heads[0] : heads.OrderBy(queue => queues.Share(queue.Key))
                    .ThenByDescending(queue => queue.Gangs.Peek().Priority).ThenBy(queue => queue.Gangs.Peek().SubmittedAt).First();
                yield return next.Gangs.Dequeue();
                if (next.Gangs.Count == 0)
                {
                    heads.Remove(next);
                }
            }
        }

        private void Decide(PendingGang gang)
        {
            string kind = gang.Shape.DeviceKind;

            // 2. Not yet.
            if (gang.NotBefore > now)
            {
                Defer(gang, Backoff(gang));
                return;
            }

            // 3. Quota. Only gangs of the same queue wait for it.
            long needed = (long)gang.Shape.Narrowest().DeviceSlots * gang.Shape.DeviceMilli;
            if (heldByQuota.TryGetValue((gang.Queue, kind), out string? sibling))
            {
                Defer(gang, Behind(gang, sibling, "is before it in the queue and waits for quota"));
                return;
            }

            // What is kept for it counts as used by its queue, but not against itself.
            long kept = gang.Nominated is { } places ? MilliOf(places, gang) : 0;
            queues.Add(gang.Queue, kind, -kept);
            bool withinQuota = queues.Available(gang.Queue, kind) >= needed;

            // 4. Places for the whole gang, off those that are set aside for others.
            var place = withinQuota ? Place(gang with { Shape = gang.Shape.AtMost(queues.Available(gang.Queue, kind)) }) : null;
            if (place is not null && gang.Nominated is null && firstInLine.TryGetValue(kind, out string? first))
            {
                Defer(gang, Behind(gang, first, "goes first and waits for them"));
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

            if (elastic.Count > 0 && widthSearches++ < Elasticity.SearchesInCycle && Elasticity.Narrow(gang, elastic, ledger, queues, timeline, input.Options, now) is { } width)
            {
                Narrow(gang, width);
                return;
            }

            if (Preemption.Find(gang, running.Values, ledger, queues, timeline, input.Options, now) is { } room)
            {
                MakeRoom(gang, room);
                return;
            }

            if (!withinQuota)
            {
                Defer(gang, OverQuota(gang, needed));
                if (queues.Largest(gang.Queue, kind) >= needed)
                {
                    heldByQuota[(gang.Queue, kind)] = gang.Gang;
                }

                return;
            }

            Wait(gang);
        }

        private GangPlacement? Place(PendingGang gang)
        {
            var runtime = gang.ExpectedRuntime;
            bool plain = gang.AvoidNodes.Count == 0 && gang.Nominated is null;
            if (plain && fitsNowhere.Contains((gang.Shape, runtime)))
            {
                return null;
            }

            using var scope = new LedgerScope(ledger);
            timeline.Withhold(scope, gang, input.Options.Backfill);
            var found = GangPlacer.TryPlace(gang, ledger);
            if (found is null && plain)
            {
                fitsNowhere.Add((gang.Shape, runtime));
            }

            return found;
        }

        private void Start(PendingGang gang, GangPlacement place)
        {
            var rank = gang.Shape.Rank;
            long milli = MilliOf(place, gang);
            bool borrows = gang.Nominated is { } kept ? kept.Borrows : queues.IsLimited(gang.Queue, rank.DeviceKind) && !Preemption.IsWithinOwn(gang, queues, milli);
            ledger.Take(place, rank);
            queues.Add(gang.Queue, rank.DeviceKind, milli);
            timeline.Drop(gang.Gang);
            if (gang.ExpectedRuntime is { } runtime)
            {
                timeline.Ends(now + runtime, place, rank);
            }

            placed.Add(place with { Borrows = borrows });
        }

        private void MakeRoom(PendingGang gang, GangPreemption room)
        {
            foreach (string victim in room.Victims)
            {
                running.Remove(victim);
            }

            elastic.RemoveAll(other => room.Victims.Contains(other.Gang));

            timeline.SetAside(room.Placement, gang.Shape.Rank, gang.ExpectedRuntime);
            queues.Add(gang.Queue, gang.Shape.DeviceKind, MilliOf(room.Placement, gang));
            fitsNowhere.Clear();
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
                timeline.SetAside(resized.Placement, running[resized.Gang].Rank, null);
                running.Remove(resized.Gang);
                elastic.RemoveAll(other => other.Gang == resized.Gang);
            }

            timeline.SetAside(width.Placement, gang.Shape.Rank, gang.ExpectedRuntime);
            queues.Add(gang.Queue, gang.Shape.DeviceKind, MilliOf(width.Placement, gang));
            fitsNowhere.Clear();
            narrowed.Add(width);
            Defer(gang, Elasticity.Reason(gang, width));
        }

        /// <summary>6. A reservation for the gang, or its place at the head of the line; and what is missing.</summary>
        private void Wait(PendingGang gang)
        {
            string kind = gang.Shape.DeviceKind;
            if (!explained.TryGetValue(gang.Shape, out var why))
            {
                explained[gang.Shape] = why = PendingDiagnosis.Explain(gang, input.Cluster, ledger);
            }

            if (firstInLine.ContainsKey(kind) || why.Code == PendingCode.NodeHealth || !Feasibility.FitsNodesInService(input.Cluster, gang))
            {
                Defer(gang, why);
                return;
            }

            if (input.Options.Backfill && timeline.HasRoom && timeline.Reserve(gang) is { } start)
            {
                fitsNowhere.Clear();
                Defer(gang, why with { Causes = [.. why.Causes, Reserved(start)] }, start);
                return;
            }

            firstInLine[kind] = gang.Gang;
            Defer(gang, why);
        }

        private static long MilliOf(GangPlacement place, PendingGang gang) => place.Members.Sum(member => (long)member.Ranks.Count) * gang.Shape.Rank.TotalMilli;

        private PendingReason Reserved(DateTimeOffset start) => new(
            PendingCode.Reservation, $"Devices are reserved for it in {Math.Ceiling((start - now).TotalSeconds):0} s, when gangs before it are expected to have ended.");

        private void Defer(PendingGang gang, PendingReason reason, DateTimeOffset? start = null) =>
            deferred.Add(new GangDeferral(gang.Gang, reason, position) { EstimatedStart = start });

        private static PendingReason Behind(PendingGang gang, string first, string why) => new(
            PendingCode.Priority, $"It needs {PendingDiagnosis.Needs(gang.Shape)}, which are free, but {first} {why}.")
        {
            Unblocks = [$"{first} starts or is cancelled", $"a priority above that of {first}"],
        };

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
}
