using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>Where the estimate of a start comes from. In the API these are the names in upper snake case.</summary>
public enum EstimateBasis
{
    /// <summary>Devices are reserved for it by then.</summary>
    Reservation,

    /// <summary>Running gangs are declared or predicted to end by then, and those that go first have found their places.</summary>
    Runtimes,
}

/// <summary>Everything that can be said of why a gang waits.</summary>
/// <param name="Reason">The deciding reason, with what lies behind it as a tree.</param>
/// <param name="Position">Its place in its queue, from 1.</param>
/// <param name="EstimatedStart">When it will start as far as is known; null when nothing tells.</param>
/// <param name="Basis">Where the estimate comes from; null without one.</param>
/// <param name="Changes">What would let it start now.</param>
public sealed record Explanation(PendingReason Reason, int Position, DateTimeOffset? EstimatedStart, EstimateBasis? Basis, IReadOnlyList<Counterfactual> Changes)
{
    private const int Shown = 6;
    private const int ReservedAhead = 64;

    /// <summary>Explains a gang that waits; null when it does not.</summary>
    /// <param name="gang">The gang.</param>
    /// <param name="input">What the cycle decides from.</param>
    /// <param name="deferral">What the last cycle said; null when it has not looked at it yet.</param>
    /// <param name="providers">What providers of nodes do about it.</param>
    /// <param name="now">The time.</param>
    public static Explanation? Of(string gang, CycleInput input, GangDeferral? deferral, IReadOnlyList<PendingReason> providers, DateTimeOffset now)
    {
        if (input.Waiting.FirstOrDefault(waiting => waiting.Gang == gang) is not { } own)
        {
            return null;
        }

        var view = new View(own, input, now);
        var decided = deferral?.Reason ?? PendingDiagnosis.Explain(own, input.Cluster, view.Ledger);
        PendingReason[] behind = [.. view.Quota(), .. view.Devices(), .. view.Nodes(), .. view.NotHelping(), .. view.Kept(), .. view.Ahead(), .. view.MakeRoom(), .. providers];
        var (start, basis) = deferral?.EstimatedStart is { } reserved ? (reserved, EstimateBasis.Reservation) : view.Estimate() is { } told ? (told, EstimateBasis.Runtimes) : ((DateTimeOffset?)null, (EstimateBasis?)null);
        var tree = decided with
        {
            Subject = decided.Code == PendingCode.Quota ? own.Queue : decided.Subject,
            Figures = decided.Figures ?? (decided.Code == PendingCode.Quota ? view.QuotaFigures() : view.DeviceFigures()),
            Causes = [.. decided.Causes, .. behind.Where(reason => reason.Message != decided.Message)],
        };
        return new Explanation(tree, view.Position(), start, basis, Counterfactuals.Of(gang, input, now));
    }

    private sealed class View(PendingGang own, CycleInput input, DateTimeOffset now)
    {
        private readonly GangShape shape = own.Shape.Narrowest();
        private readonly QueueLedger queues = input.QueueLedger();

        public DeviceLedger Ledger { get; } = input.DeviceLedger();

        private string Kind => shape.DeviceKind;

        private long Needed => (long)shape.DeviceSlots * shape.DeviceMilli;

        public int Position() => 1 + input.Waiting.Count(other => other.Gang != own.Gang && other.Queue == own.Queue && GoesFirst(other));

        public PendingFigures QuotaFigures()
        {
            long available = queues.Available(own.Queue, Kind), largest = queues.Largest(own.Queue, Kind);
            return new PendingFigures(Kind, Needed, Math.Min(available, largest), largest, Math.Max(0, Needed - available));
        }

        public PendingFigures DeviceFigures()
        {
            var (free, total) = Usable(Ledger.Nodes.Where(node => node.Node.Schedulable));
            return new PendingFigures(Kind, Needed, free, total, Math.Max(0, Needed - free));
        }

        /// <summary>The quota, when it bounds the queue, and who uses it.</summary>
        public IEnumerable<PendingReason> Quota()
        {
            if (!queues.IsLimited(own.Queue, Kind))
            {
                yield break;
            }

            var figures = QuotaFigures();
            if (figures.MissingMilli == 0)
            {
                yield break;
            }

            yield return new PendingReason(
                PendingCode.Quota,
                $"Queue {own.Queue} may take {Text(figures.FreeMilli)} more {Kind} devices now: it uses {Text(queues.Used(own.Queue, Kind))} of its own {queues.NominalOf(own.Queue, Kind)}, borrows {Text(queues.Borrowed(own.Queue, Kind))} and has lent {Text(queues.Lent(own.Queue, Kind))}.")
            {
                Subject = own.Queue,
                Figures = figures,
                Causes = [.. input.Running.Where(gang => gang.Queue == own.Queue && gang.Rank.DeviceKind == Kind).OrderByDescending(gang => gang.Milli).Take(Shown).Select(Holder)],
            };
        }

        /// <summary>How many devices are free, and who holds the others, those that end first before the others.</summary>
        public IEnumerable<PendingReason> Devices()
        {
            var figures = DeviceFigures();
            var holders = input.Running.Where(gang => gang.Rank.DeviceKind == Kind).OrderBy(gang => gang.ExpectedEnd ?? DateTimeOffset.MaxValue).ThenByDescending(gang => gang.Milli).ToList();
            yield return new PendingReason(
                PendingCode.Capacity,
                figures.MissingMilli > 0
                    ? $"{Text(figures.FreeMilli)} of {Text(figures.TotalMilli)} {Kind} devices in service are free, {Text(figures.MissingMilli)} too few; {Gangs(holders.Count)} the others."
                    : $"{Text(figures.FreeMilli)} of {Text(figures.TotalMilli)} {Kind} devices in service are free, as many as it needs in sum.")
            {
                Figures = figures,
                Causes = figures.MissingMilli > 0 ? [.. holders.Take(Shown).Select(Holder)] : [],
            };
        }

        /// <summary>Nodes and devices that are out of service.</summary>
        public IEnumerable<PendingReason> Nodes()
        {
            PendingReason[] absent =
            [
                .. input.Cluster.Nodes.Where(node => !node.Schedulable && node.Devices.Any(device => device.Kind == Kind)).Select(node => new PendingReason(
                    PendingCode.NodeHealth, $"{node.Name} is {node.Condition}: {node.Devices.Count(device => device.Kind == Kind)} devices.") { Subject = node.Name }),
                .. input.Cluster.Nodes.Where(node => node.Schedulable && node.Devices.Any(device => device.Kind == Kind && !device.Healthy)).Select(node => new PendingReason(
                    PendingCode.NodeHealth, $"{node.Name} has {node.Devices.Count(device => device.Kind == Kind && !device.Healthy)} unhealthy devices.") { Subject = node.Name }),
                .. own.AvoidNodes.Select(node => new PendingReason(PendingCode.NodeHealth, $"{node} is avoided where possible: its last attempts failed there.") { Subject = node }),
            ];
            if (absent.Length > 0)
            {
                long missing = input.Cluster.Nodes.SelectMany(node => node.Devices.Where(device => device.Kind == Kind && (!node.Schedulable || !device.Healthy))).Count() * 1000L;
                yield return new PendingReason(PendingCode.NodeHealth, $"{Text(missing)} {Kind} devices are out of service, or avoided.")
                {
                    Figures = new PendingFigures(Kind, Needed, 0, missing, 0),
                    Causes = Few(absent, PendingCode.NodeHealth),
                };
            }
        }

        /// <summary>Free devices that do not help, and why: in pieces that are too small, or too far apart.</summary>
        public IEnumerable<PendingReason> NotHelping()
        {
            if (GangPlacer.TryPlace(own with { Shape = shape }, Ledger) is not null)
            {
                yield break;
            }

            int perGroup = shape.TensorTopology == TopologyLevels.Node ? shape.Mesh.Tensor : 1;
            var useless = new List<PendingReason>();
            long milli = 0;
            foreach (var node in Ledger.Nodes.Where(node => node.Node.Schedulable))
            {
                var (free, _) = Usable([node]);
                int ranks = node.CountFit(shape.Rank, shape.Mesh.WorldSize), used = ranks / perGroup * perGroup;
                long left = free - ((long)used * shape.Rank.TotalMilli);
                if (left > 0 && ranks < shape.Mesh.WorldSize)
                {
                    milli += left;
                    useless.Add(new PendingReason(PendingCode.Fragmentation, $"{node.Node.Name}: {Text(left)} free {Why(node, ranks, perGroup)}.")
                    {
                        Subject = node.Node.Name,
                        Figures = new PendingFigures(Kind, (long)perGroup * shape.Rank.TotalMilli, left, node.Node.Devices.Count(device => device.Kind == Kind) * 1000L, 0),
                    });
                }
            }

            if (useless.Count > 0)
            {
                yield return new PendingReason(PendingCode.Fragmentation, $"{Text(milli)} free {Kind} devices on {useless.Count} node{(useless.Count == 1 ? "" : "s")} do not help.")
                {
                    Figures = new PendingFigures(Kind, Needed, milli, DeviceFigures().TotalMilli, 0),
                    Causes = Few([.. useless.OrderByDescending(reason => reason.Figures?.FreeMilli)], PendingCode.Fragmentation),
                };
            }

            foreach (var reason in TooFarApart())
            {
                yield return reason;
            }
        }

        /// <summary>Devices that are free or will be, and are kept for others.</summary>
        public IEnumerable<PendingReason> Kept()
        {
            PendingReason[] kept =
            [
                .. input.Waiting.Where(other => other.Gang != own.Gang && other.Shape.DeviceKind == Kind && other.Nominated is not null).Select(other => new PendingReason(
                    PendingCode.Reservation, $"{Text(MilliOf(other.Nominated, other.Shape.Rank.TotalMilli))} are kept for {other.Gang}, for which others left.") { Subject = other.Gang }),
                .. input.Running.Where(other => other.Rank.DeviceKind == Kind && other.Returns is not null).Select(other => new PendingReason(
                    PendingCode.Reservation, $"{Text(MilliOf(other.Returns, other.Rank.TotalMilli))} are kept for {other.Gang}, which goes on at another width.") { Subject = other.Gang }),
            ];
            if (kept.Length > 0)
            {
                yield return new PendingReason(PendingCode.Reservation, $"Devices are kept for {Count(kept.Length, "gang")}.") { Causes = Few(kept, PendingCode.Reservation) };
            }
        }

        /// <summary>Gangs of its queue that go first.</summary>
        public IEnumerable<PendingReason> Ahead()
        {
            var first = input.Waiting.Where(other => other.Gang != own.Gang && other.Queue == own.Queue && other.Shape.DeviceKind == Kind && GoesFirst(other))
                .OrderByDescending(other => other.Priority).ThenBy(other => other.SubmittedAt).ToList();
            if (first.Count > 0)
            {
                long devices = first.Sum(other => (long)other.Shape.Narrowest().DeviceSlots * other.Shape.DeviceMilli);
                yield return new PendingReason(PendingCode.Priority, $"{Count(first.Count, "gang")} of queue {own.Queue} go{(first.Count == 1 ? "es" : "")} first, for {Text(devices)} devices.")
                {
                    Subject = own.Queue,
                    Causes = Few([.. first.Select(other => new PendingReason(PendingCode.Priority, $"{other.Gang}: priority {other.Priority}, {PendingDiagnosis.Needs(other.Shape)}.") { Subject = other.Gang })], PendingCode.Priority),
                };
            }
        }

        /// <summary>Why nobody makes room for it.</summary>
        public IEnumerable<PendingReason> MakeRoom()
        {
            if (own.Nominated is not null || input.Running.Count == 0)
            {
                yield break;
            }

            if (!input.Options.Preemption)
            {
                yield return new PendingReason(PendingCode.Priority, "Nobody is asked to make room: preemption is off.");
                yield break;
            }

            var lower = input.Running.Where(gang => gang.Queue == own.Queue && gang.Rank.DeviceKind == Kind && gang.Standing < own.Standing).ToList();
            var young = lower.Where(gang => gang.RunningSince is null || now - gang.RunningSince < input.Options.MinRuntime).ToList();
            if (lower.Count == 0)
            {
                yield return new PendingReason(PendingCode.Priority, $"Nobody makes room: no gang of queue {own.Queue} that runs has a priority below {own.Priority}.");
            }
            else if (young.Count > 0)
            {
                yield return new PendingReason(
                    PendingCode.Priority, $"{Count(young.Count, "gang")} of lower priority {(young.Count == 1 ? "has" : "have")} not run for {input.Options.MinRuntime.TotalSeconds:0} s yet, before which nobody is asked to make room.")
                {
                    Causes = Few([.. young.Select(gang => new PendingReason(
                        PendingCode.Priority,
                        gang.RunningSince is { } since ? $"{gang.Gang} may be asked in {Math.Max(0, Math.Ceiling((since + input.Options.MinRuntime - now).TotalSeconds)):0} s." : $"{gang.Gang} is starting.") { Subject = gang.Gang })], PendingCode.Priority),
                };
            }
        }

        /// <summary>When running gangs will have ended so that it fits, after those that go before it have their places.</summary>
        public DateTimeOffset? Estimate()
        {
            var timeline = new Timeline(Ledger, now);
            foreach (var gang in input.Running.Where(gang => gang.ExpectedEnd is not null))
            {
                timeline.Ends(gang.ExpectedEnd ?? now, gang.Placement, gang.Rank);
            }

            foreach (var gang in input.Waiting.Where(gang => gang.Gang != own.Gang && gang.Nominated is not null))
            {
                timeline.SetAside(gang.Nominated ?? throw new InvalidOperationException("It was just there."), gang.Shape.Rank, gang.ExpectedRuntime);
            }

            foreach (var gang in input.Waiting.Where(gang => gang.Gang != own.Gang && gang.Nominated is null && gang.Shape.DeviceKind == Kind && GoesFirst(gang))
                .OrderByDescending(gang => gang.Priority).ThenBy(gang => gang.SubmittedAt).Take(ReservedAhead))
            {
                timeline.Reserve(gang);
            }

            return timeline.Reserve(own with { Nominated = null });
        }

        private IEnumerable<PendingReason> TooFarApart()
        {
            bool enough = GangPlacer.CountSlots(shape, Ledger.Nodes.Where(node => node.Node.Schedulable)) >= shape.Mesh.WorldSize;
            foreach (var (group, level, ranks) in new[] { ("tensor", shape.TensorTopology, shape.Mesh.Tensor), ("data", shape.DataTopology, shape.Mesh.Data * shape.Mesh.Tensor), ("pipeline", shape.PipelineTopology, shape.Mesh.Pipeline * shape.Mesh.Tensor) })
            {
                if (!enough || level is null || ranks <= 1)
                {
                    continue;
                }

                var domains = Ledger.Nodes.Where(node => node.Node.Schedulable).GroupBy(node => TopologyLevels.DomainOf(node.Node, level))
                    .Select(domain => (domain.Key, Ranks: domain.Sum(node => node.CountFit(shape.Rank, shape.Mesh.WorldSize)))).Where(domain => domain.Ranks > 0)
                    .OrderByDescending(domain => domain.Ranks).ThenBy(domain => domain.Key, StringComparer.Ordinal).ToList();
                yield return new PendingReason(PendingCode.Topology, $"Each {group} group of {ranks} ranks has to stay within one {level}.")
                {
                    Subject = level,
                    Causes = Few([.. domains.Select(domain => new PendingReason(PendingCode.Topology, $"{domain.Key} has room for {domain.Ranks}.") { Subject = domain.Key })], PendingCode.Topology),
                };
            }
        }

        private string Why(Placement.NodeLedger node, int ranks, int perGroup)
        {
            if (ranks > 0)
            {
                return $"beside whole groups: a tensor group of {perGroup} ranks has to be on one node";
            }

            var bare = shape.Rank with { MemoryBytes = 0, CpuMilli = 0, DeviceMemoryBytes = 0 };
            return node.CountFit(bare, 1) > 0
                ? "without the memory that a rank asks for"
                : $"in pieces that are smaller than the {Text(shape.Rank.TotalMilli)} of a rank";
        }

        private (long Free, long Total) Usable(IEnumerable<Placement.NodeLedger> nodes)
        {
            long free = 0, total = 0;
            foreach (var node in nodes)
            {
                foreach (var device in node.Node.Devices.Where(device => device.Kind == Kind && device.Healthy))
                {
                    free += node.FreeMilli[node.PositionOf(device.Index)];
                    total += 1000;
                }
            }

            return (free, total);
        }

        private PendingReason Holder(RunningGang gang) => new(
            PendingCode.Capacity,
            gang.ExpectedEnd is { } end
                ? $"{gang.Gang} holds {Text(gang.Milli)}, for another {Duration(end - now)} as far as is known."
                : $"{gang.Gang} holds {Text(gang.Milli)}; when it ends is not known.")
        {
            Subject = gang.Gang,
            Figures = new PendingFigures(Kind, 0, 0, gang.Milli, 0),
        };

        private bool GoesFirst(PendingGang other) => other.Priority != own.Priority ? other.Priority > own.Priority
            : other.SubmittedAt != own.SubmittedAt ? other.SubmittedAt < own.SubmittedAt : string.CompareOrdinal(other.Gang, own.Gang) < 0;

        private static IReadOnlyList<PendingReason> Few(IReadOnlyList<PendingReason> all, PendingCode code) =>
            all.Count <= Shown ? all : [.. all.Take(Shown), new PendingReason(code, $"{all.Count - Shown} more.")];

        private static long MilliOf(GangPlacement? placement, int each) => (placement?.Members.Sum(member => (long)member.Ranks.Count) ?? 0) * each;

        private static string Gangs(int count) => count == 1 ? "1 gang holds" : $"{count} gangs hold";

        private static string Count(int count, string what) => count == 1 ? $"1 {what}" : $"{count} {what}s";

        private static string Text(long milli) => PendingDiagnosis.Devices(milli);

        private static string Duration(TimeSpan time) => time.TotalSeconds < 1 ? "moment" : time.TotalMinutes < 2 ? $"{time.TotalSeconds:0} s" : time.TotalHours < 2 ? $"{time.TotalMinutes:0} min" : $"{time.TotalHours:0} h";
    }
}
