using Platform.Scheduling.Cycle;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Simulation;

/// <summary>
/// A trace through <see cref="SchedulingCycle"/> over a virtual clock: gangs arrive, get devices, make room by checkpoint, change
/// their width and end. Nothing is random, so a trace gives the same decisions each time.
/// </summary>
public static class ClusterReplay
{
    /// <summary>After a time that is compared to the tick.</summary>
    private const double Soon = 1e-3;

    private static readonly DateTimeOffset Begin = DateTimeOffset.UnixEpoch + TimeSpan.FromDays(1);

    /// <summary>Runs a trace to its end.</summary>
    /// <param name="trace">Cluster and gangs.</param>
    /// <param name="options">Settings.</param>
    /// <param name="cancellationToken">Ends it early.</param>
    /// <exception cref="OperationCanceledException">It was told to stop.</exception>
    public static ReplayResult Run(ReplayTrace trace, ReplayOptions options, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(trace);
        ArgumentNullException.ThrowIfNull(options);
        return new Course(trace, options, cancellationToken).Run();
    }

    /// <summary>A gang on its way through the cluster.</summary>
    private sealed class Life(TraceGang gang)
    {
        public TraceGang Gang => gang;

        /// <summary>Seconds of work left at full width.</summary>
        public double Left { get; set; } = gang.RunsSeconds;

        public double? FirstStart { get; set; }

        public GangPlacement? Placement { get; set; }

        public double Since { get; set; }

        /// <summary>When its ranks compute, after the start.</summary>
        public double RunsFrom { get; set; }

        /// <summary>When it lets go of its devices, and why.</summary>
        public (double At, SegmentEnd Why) Ends { get; set; }

        public GangPlacement? Kept { get; set; }

        public bool IsLeaving => Ends.Why != SegmentEnd.Finished;

        /// <summary>Work done in a second: its share of its full width.</summary>
        public double Rate => Placement is null ? 0 : Placement.Members.Sum(member => member.Ranks.Count) / (double)gang.Shape.Mesh.WorldSize;
    }

    private sealed class Course
    {
        private readonly ReplayTrace trace;
        private readonly ReplayOptions options;
        private readonly CancellationToken cancellation;
        private readonly WorkloadMix mix;
        private readonly FragmentationPolicy fragments;
        private readonly List<Life> waiting = [];
        private readonly Dictionary<string, Life> running = [];
        private readonly Dictionary<string, NodeLedger> nodes;
        private readonly List<ReplaySegment> segments = [];
        private readonly List<ReplayPoint> points = [];
        private readonly List<double> waits = [];
        private readonly List<string> infeasible = [];
        private QueueHistory history = QueueHistory.Empty;
        private int finished;
        private int cycles;

        public Course(ReplayTrace trace, ReplayOptions options, CancellationToken cancellation)
        {
            (this.trace, this.options, this.cancellation) = (trace, options, cancellation);
            mix = WorkloadMix.Of(trace.Gangs.SelectMany(gang => Enumerable.Repeat(gang.Shape.Rank, gang.Shape.Mesh.WorldSize)));
            fragments = new FragmentationPolicy(mix);
            nodes = trace.Cluster.Nodes.Select((node, index) => new NodeLedger(node, index)).ToDictionary(node => node.Node.Name);
        }

        public ReplayResult Run()
        {
            var shapes = new Dictionary<GangShape, bool>();
            var arrivals = new Queue<TraceGang>(trace.Gangs);
            double now = 0, wake = double.PositiveInfinity;
            while (arrivals.Count > 0 || running.Count > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                now = Math.Min(Math.Min(arrivals.Count > 0 ? arrivals.Peek().ArrivesSeconds : double.PositiveInfinity, wake), running.Values.Select(life => life.Ends.At).DefaultIfEmpty(double.PositiveInfinity).Min());
                foreach (var life in running.Values.Where(life => life.Ends.At <= now).ToList())
                {
                    LetGo(life, now);
                }

                while (arrivals.Count > 0 && arrivals.Peek().ArrivesSeconds <= now)
                {
                    var gang = arrivals.Dequeue();
                    if (!shapes.TryGetValue(gang.Shape, out bool fits))
                    {
                        shapes[gang.Shape] = fits = Feasibility.Check(trace.Cluster, gang.Shape) is null;
                    }

                    if (fits)
                    {
                        waiting.Add(new Life(gang));
                    }
                    else
                    {
                        infeasible.Add(gang.Gang);
                    }
                }

                Decide(now);
                wake = NextWake(now);
                points.Add(new ReplayPoint(now, running.Values.Sum(life => MilliOf(life)), waiting.Count, nodes.Values.Sum(fragments.Fragment)));
            }

            return new ReplayResult
            {
                Policy = options.Cycle.Policy,
                Devices = trace.Cluster.Nodes.Sum(node => node.Devices.Count),
                Segments = [.. segments.OrderBy(segment => segment.FromSeconds).ThenBy(segment => segment.Gang, StringComparer.Ordinal)],
                Points = points,
                Waits = [.. waits.Order()],
                Finished = finished,
                Infeasible = infeasible,
                NeverStarted = [.. waiting.Where(life => life.FirstStart is null).Select(life => life.Gang.Gang)],
                Cycles = cycles,
            };
        }

        private void Decide(double now)
        {
            var input = Input(now);
            history = history.After(input.Running.GroupBy(gang => (gang.Queue, gang.Rank.DeviceKind)).ToDictionary(queue => queue.Key, queue => queue.Sum(gang => gang.Milli)), Time(now));
            cycles++;
            var plan = SchedulingCycle.Decide(input with { History = history }, Time(now));
            foreach (var placed in plan.Placed)
            {
                Start(waiting.Single(life => life.Gang.Gang == placed.Gang), placed, now);
            }

            foreach (var narrowing in plan.Narrowed)
            {
                Keep(narrowing.Gang, narrowing.Placement);
                foreach (var resized in narrowing.Resized)
                {
                    Leave(running[resized.Gang], SegmentEnd.Narrowed, resized.Placement, now);
                }
            }

            foreach (var resized in plan.Widened)
            {
                Leave(running[resized.Gang], SegmentEnd.Widened, resized.Placement, now);
            }

            foreach (var room in plan.Preempted)
            {
                Keep(room.Gang, room.Placement);
                foreach (string victim in room.Victims)
                {
                    Leave(running[victim], SegmentEnd.Preempted, null, now);
                }
            }
        }

        private void Keep(string gang, GangPlacement placement) => waiting.Single(life => life.Gang.Gang == gang).Kept = placement;

        private void Start(Life life, GangPlacement placement, double now)
        {
            waiting.Remove(life);
            if (life.FirstStart is null)
            {
                life.FirstStart = now;
                waits.Add(now - life.Gang.ArrivesSeconds);
            }

            (life.Placement, life.Kept, life.Since) = (placement, null, now);
            life.RunsFrom = now + (life.Left < life.Gang.RunsSeconds ? options.StartSeconds : 0);
            life.Ends = (life.RunsFrom + (life.Left / life.Rate), SegmentEnd.Finished);
            running[life.Gang.Gang] = life;
            Book(life, take: true);
        }

        /// <summary>It works on until it is told, then saves; its devices are free after that.</summary>
        private void Leave(Life life, SegmentEnd why, GangPlacement? comesTo, double now)
        {
            life.Left = Math.Max(0, life.Left - (Math.Max(0, now - life.RunsFrom) * life.Rate));
            (life.Ends, life.Kept) = ((now + options.StopSeconds, why), comesTo);
        }

        private void LetGo(Life life, double now)
        {
            running.Remove(life.Gang.Gang);
            Book(life, take: false);
            segments.Add(new ReplaySegment(life.Gang.Gang, life.Gang.Queue, Placement(life), life.Since, now, life.Ends.Why));
            if (life.IsLeaving)
            {
                life.Placement = null;
                waiting.Add(life);
            }
            else
            {
                finished++;
            }
        }

        private void Book(Life life, bool take)
        {
            var rank = life.Gang.Shape.Rank;
            foreach (var member in Placement(life).Members)
            {
                foreach (var placed in member.Ranks)
                {
                    int[] positions = [.. placed.Devices.Select(nodes[member.Node].PositionOf)];
                    if (take)
                    {
                        nodes[member.Node].Take(rank, positions);
                    }
                    else
                    {
                        nodes[member.Node].Release(rank, positions);
                    }
                }
            }
        }

        private CycleInput Input(double now) => new()
        {
            Cluster = new ClusterSnapshot([.. nodes.Values.Select(SnapshotOf)]),
            Waiting = [.. waiting.Select(life => new PendingGang
            {
                Gang = life.Gang.Gang,
                Shape = life.Gang.Shape,
                Queue = life.Gang.Queue,
                Priority = life.Gang.Priority,
                SubmittedAt = Time(life.Gang.ArrivesSeconds),
                ExpectedRuntime = life.Gang.ExpectedSeconds is { } expected ? TimeSpan.FromSeconds(expected) : null,
                Nominated = life.Kept,
            })],
            Running = [.. running.Values.Select(life => new RunningGang
            {
                Placement = Placement(life),
                Rank = life.Gang.Shape.Rank,
                Shape = life.Gang.Shape,
                Queue = life.Gang.Queue,
                Priority = life.Gang.Priority,
                RunningSince = Time(life.RunsFrom),
                ExpectedEnd = life.Gang.ExpectedSeconds is { } expected ? Time(life.RunsFrom) + (TimeSpan.FromSeconds(expected) / life.Rate) : null,
                MayYield = !life.IsLeaving && life.RunsFrom <= now,
                Borrows = Placement(life).Borrows,
                Returns = life.IsLeaving ? life.Kept : null,
            })],
            Queues = trace.Queues,
            History = history,
            Mix = mix,
            Options = options.Cycle,
        };

        /// <summary>Time alone lets gangs be asked for room, and take idle devices.</summary>
        private double NextWake(double now)
        {
            double next = double.PositiveInfinity;
            foreach (var life in running.Values.Where(life => !life.IsLeaving))
            {
                if (waiting.Count > 0)
                {
                    Consider(life.RunsFrom + options.Cycle.MinRuntime.TotalSeconds + Soon);
                }

                if (life.Rate < 1)
                {
                    Consider(life.RunsFrom + options.Cycle.ElasticMinRuntime.TotalSeconds + Soon);
                }
            }

            return next;

            void Consider(double at)
            {
                if (at > now)
                {
                    next = Math.Min(next, at);
                }
            }
        }

        private static NodeSnapshot SnapshotOf(NodeLedger ledger)
        {
            int[] free = [.. ledger.FreeMilli];
            return ledger.Node with
            {
                FreeMemoryBytes = ledger.FreeMemoryBytes,
                FreeCpuMilli = ledger.FreeCpuMilli,
                Devices = [.. ledger.Node.Devices.Select((device, position) => free[position] == device.FreeMilli ? device : device with { FreeMilli = free[position] })],
            };
        }

        private static long MilliOf(Life life) => Placement(life).Members.Sum(member => (long)member.Ranks.Count) * life.Gang.Shape.Rank.TotalMilli;

        private static GangPlacement Placement(Life life) => life.Placement ?? throw new InvalidOperationException($"{life.Gang.Gang} runs without devices.");

        private static DateTimeOffset Time(double seconds) => Begin + TimeSpan.FromSeconds(seconds);
    }
}
