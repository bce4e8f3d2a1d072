using System.Diagnostics;
using System.Globalization;
using Platform.Core.Parallelism;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Queues;
using Platform.Scheduling.Simulation;

namespace Platform.Benchmarks.Scheduling;

/// <summary>
/// How fast the cycle decides on a large cluster with a long line of gangs: as gangs leave until it is 90 % full, a cycle fills it
/// again from the line, and arrivals make that as long as before; and on a full cluster, with a cycle for every ten gangs that
/// leave and for every one. Only the decision is timed: no database, no bus. A gang's decision takes as long as its whole cycle.
/// </summary>
internal sealed class DecisionBenchmark
{
    private const int DevicesPerNode = 8;
    private const int NodesPerBlock = 32;
    private const int BlocksPerRack = 4;
    private const int RacksPerZone = 20;
    private const int Queues = 8;
    private const double Full = 0.9;
    private static readonly DeviceSnapshot[] Free = Devices(1000);
    private static readonly DeviceSnapshot[] Taken = Devices(0);

    private readonly SeededRandom random = new(17);
    private readonly NodeSnapshot[] nodes;
    private readonly Dictionary<string, int> indexes = [];
    private readonly List<PendingGang> waiting = [];
    private readonly PriorityQueue<RunningGang, DateTimeOffset> ends = new();
    private readonly List<RunningGang> running = [];
    private readonly WorkloadMix mix = WorkloadMix.Of([Rank]);
    private readonly QueueSpec[] queues;
    private DateTimeOffset now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private int named;
    private int busy;
    private int left;

    private DecisionBenchmark(int count)
    {
        nodes = [.. Enumerable.Range(0, count).Select(index => new NodeSnapshot($"n{index:00000}", true, "", Labels(index), 1L << 40, 1L << 40, Free))];
        for (int node = 0; node < count; node++)
        {
            indexes[nodes[node].Name] = node;
        }

        queues =
        [
            new QueueSpec { Name = "all" },
            .. Enumerable.Range(0, Queues).Select(queue => new QueueSpec
            {
                Name = $"q{queue}", Parent = "all", Weight = 1 + (queue % 3), Nominal = new Dictionary<string, int> { ["cuda"] = count * DevicesPerNode / Queues },
            }),
        ];
    }

    private static RankRequest Rank => new() { DeviceKind = "cuda" };

    /// <summary>Runs it and prints what it came to.</summary>
    public static IReadOnlyList<(string Name, double Value)> Run(bool quick)
    {
        int count = quick ? 2_000 : 10_000;
        return
        [
            .. new DecisionBenchmark(count).Run(count, quick ? 60 : 800, "decision", bench => bench.Used() > Full),
            .. new DecisionBenchmark(count).Run(count, quick ? 100 : 1_500, "decision_ten", bench => bench.left < 10),
            .. new DecisionBenchmark(count).Run(count, quick ? 300 : 2_500, "decision_one", bench => bench.left < 1),
        ];
    }

    /// <param name="pending">Gangs that wait.</param>
    /// <param name="cycles">Cycles that are timed.</param>
    /// <param name="name">Begin of the figures' names.</param>
    /// <param name="mayLeave">Whether another gang leaves before the next cycle.</param>
    private IReadOnlyList<(string Name, double Value)> Run(int pending, int cycles, string name, Func<DecisionBenchmark, bool> mayLeave)
    {
        var core = new SchedulingCore();
        int used = 0;
        while (used < Full * nodes.Length)
        {
            waiting.Add(Gang());
            used += waiting[^1].Shape.Mesh.WorldSize / DevicesPerNode;
        }

        Apply(core.Decide(Input(), now));
        while (waiting.Count < pending)
        {
            waiting.Add(Gang());
        }

        // The first cycles fill what is left and compile the code.
        int warm = cycles / 4, placed = 0;
        var times = new List<double>(cycles);
        double fullness = 0;
        long allocated = 0;
        for (int cycle = -warm; cycle < cycles; cycle++)
        {
            left = 0;
            while (mayLeave(this))
            {
                Depart();
                left++;
            }

            fullness += cycle >= 0 ? Used() : 0;
            while (waiting.Count < pending)
            {
                waiting.Add(Gang());
            }

            var input = Input();
            long bytes = GC.GetAllocatedBytesForCurrentThread(), start = Stopwatch.GetTimestamp();
            var plan = core.Decide(input, now);
            double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            if (cycle >= 0)
            {
                times.Add(milliseconds);
                placed += plan.Placed.Count;
                allocated += GC.GetAllocatedBytesForCurrentThread() - bytes;
            }

            Apply(plan);
        }

        double seconds = times.Sum() / 1000;
        times.Sort();
        List<(string Name, double Value)> figures =
        [
            (name == "decision" ? "decisions_per_second" : $"{name}_per_second", placed / seconds),
            ($"{name}_p50_ms", times[times.Count / 2]),
            ($"{name}_p99_ms", times[(int)(times.Count * 0.99)]),
            ($"{name}_max_ms", times[^1]),
            ($"{name}_placed_per_cycle", (double)placed / times.Count),
            ($"{name}_used_before_percent", 100 * fullness / times.Count),
            ($"{name}_allocated_kib_per_cycle", allocated / 1024.0 / times.Count),
        ];
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{nodes.Length} nodes of {DevicesPerNode} devices, {pending} gangs wait, {running.Count} run; {cycles} cycles placed {placed} gangs"));
        return figures;
    }

    private double Used() => busy / (double)nodes.Length;

    private CycleInput Input() => new()
    {
        Cluster = new ClusterSnapshot(nodes.ToArray()),
        Waiting = waiting.ToArray(),
        Running = running.ToArray(),
        Queues = queues,
        Mix = mix,
        Options = new CycleOptions { Preemption = false },
    };

    /// <summary>The gang whose end comes next leaves.</summary>
    private void Depart()
    {
        if (!ends.TryDequeue(out var gang, out var end))
        {
            return;
        }

        now = end > now ? end : now;
        running.Remove(gang);
        Set(gang.Placement, Free);
    }

    private void Apply(CyclePlan plan)
    {
        if (plan.Placed.Count == 0)
        {
            return;
        }

        var placed = plan.Placed.ToDictionary(place => place.Gang);
        foreach (var gang in waiting)
        {
            if (placed.TryGetValue(gang.Gang, out var place))
            {
                Set(place, Taken);
                var declared = gang.ExpectedRuntime;
                var runs = new RunningGang
                {
                    Placement = place,
                    Rank = gang.Shape.Rank,
                    Queue = gang.Queue,
                    Priority = gang.Priority,
                    RunningSince = now,
                    ExpectedEnd = now + declared,
                    Borrows = place.Borrows,
                };
                running.Add(runs);

                // Most are over a while before they said.
                ends.Enqueue(runs, now + ((declared ?? TimeSpan.FromMinutes(60)) * (0.3 + (0.7 * random.Below(1000) / 1000.0))));
            }
        }

        waiting.RemoveAll(gang => placed.ContainsKey(gang.Gang));
    }

    private void Set(GangPlacement place, DeviceSnapshot[] devices)
    {
        foreach (var member in place.Members)
        {
            int node = indexes[member.Node];
            nodes[node] = nodes[node] with { Devices = devices };
            busy += devices == Taken ? 1 : -1;
        }
    }

    /// <summary>1 to 64 nodes, small ones more often; half of those of several nodes keep their pipelines within blocks.</summary>
    private PendingGang Gang()
    {
        int most = 1 << random.Below(7), wanted = 1 + random.Below(most), pipeline = 1;
        string? level = null;
        if (wanted > 1 && random.Below(2) == 0)
        {
            pipeline = Math.Min(wanted, 2 << random.Below(3));
            level = "block";
        }

        int data = Math.Max(1, wanted / pipeline);
        return new PendingGang
        {
            Gang = $"jobs/{++named}",
            Shape = new GangShape { Mesh = new DeviceMesh(DevicesPerNode, pipeline, data), DeviceKind = "cuda", PipelineTopology = level },
            Queue = $"q{random.Below(Queues)}",
            SubmittedAt = now,
            ExpectedRuntime = random.Below(5) == 0 ? null : TimeSpan.FromMinutes(5 + random.Below(120)),
        };
    }

    private static Dictionary<string, string> Labels(int index)
    {
        int block = index / NodesPerBlock, rack = block / BlocksPerRack;
        return new Dictionary<string, string> { ["block"] = $"b{block:000}", ["rack"] = $"r{rack:000}", ["zone"] = $"z{rack / RacksPerZone}" };
    }

    private static DeviceSnapshot[] Devices(int freeMilli) => [.. Enumerable.Range(0, DevicesPerNode).Select(device => new DeviceSnapshot(device, "cuda", 80L << 30, true, freeMilli))];
}
