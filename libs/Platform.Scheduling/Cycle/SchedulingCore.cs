using Platform.Scheduling.Placement;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Decides cycle after cycle. What it keeps between them is only an index of the last snapshot: the plan is a function of the
/// input alone, the same as a new core's, and the work grows with what differs from the input before. Rows of the input
/// (nodes, waiting and running gangs) that are the same objects as before count as unchanged. One owner, no sharing.
/// </summary>
public sealed class SchedulingCore
{
    private readonly Dictionary<GangShape, ShapeClass> classes = new(GangShapeComparer.Instance);
    private readonly Dictionary<(string Queue, string Kind), long> used = [];
    private readonly Dictionary<string, long> capacity = [];
    private readonly List<Ending> endings = [];
    private readonly DeviceLedger?[] others = new DeviceLedger?[2];
    private readonly RowSync<PendingGang, WaitingEntry> waitingRows;
    private readonly RowSync<RunningGang, RunningEntry> runningRows;
    private NodeSnapshot[] nodes = [];
    private ClusterSnapshot cluster = new([]);
    private DeviceLedger? ledger;
    private ClusterCapacity? empty;
    private CycleOptions? options;
    private WorkloadMix? mix;
    private long cycle;
    private bool isWhole;

    /// <summary>Starts knowing nothing.</summary>
    public SchedulingCore()
    {
        waitingRows = new RowSync<PendingGang, WaitingEntry>(Enter, Leave);
        runningRows = new RowSync<RunningGang, RunningEntry>(Enter, Leave);
    }

    /// <summary>What is free by the last snapshot and, during a cycle, what it has given away.</summary>
    internal DeviceLedger Ledger => ledger ?? throw new InvalidOperationException("No snapshot has been seen.");

    /// <summary>What the cluster holds when it is empty.</summary>
    internal ClusterCapacity Empty => empty ??= new ClusterCapacity(cluster);

    /// <summary>Gangs that wait, by queue in ordinal order.</summary>
    internal SortedDictionary<string, WaitingLine> Lines { get; } = new(StringComparer.Ordinal);

    /// <summary>Waiting gangs that places are kept for.</summary>
    internal List<WaitingEntry> Nominated { get; } = [];

    /// <summary>Gangs that hold devices, by name.</summary>
    internal Dictionary<string, RunningGang> Running { get; } = [];

    /// <summary>Those of them that may run at several widths.</summary>
    internal List<RunningGang> Elastic { get; } = [];

    /// <summary>Those of them that places are kept for at another width.</summary>
    internal List<RunningGang> Returning { get; } = [];

    /// <summary>Changes whenever something may have become free or a node has changed otherwise.</summary>
    internal long FreedVersion { get; private set; }

    /// <summary>Number of this cycle.</summary>
    internal long Cycle => cycle;

    /// <summary>Decides which of the waiting gangs start now, who makes room for them, and why each other one waits.</summary>
    public CyclePlan Decide(CycleInput input, DateTimeOffset now)
    {
        if (!isWhole)
        {
            Forget();
        }

        isWhole = false;
        cycle++;
        Follow(input);
        var plan = CycleRun.Decide(this, input, now);
        isWhole = true;
        return plan;
    }

    /// <summary>The queues with what running gangs use.</summary>
    internal QueueLedger QueueLedger(CycleInput input)
    {
        var queues = new QueueLedger(input.Queues, capacity, input.History);
        foreach (var ((queue, kind), milli) in used)
        {
            queues.Add(queue, kind, milli);
        }

        return queues;
    }

    /// <summary>A timeline that begins with what is free now.</summary>
    internal Timeline Timeline(DateTimeOffset now) => new(Ledger, Another, endings, now);

    /// <summary>The class of a shape; a new one for a shape that no waiting gang has.</summary>
    internal ShapeClass ClassOf(GangShape shape) => classes.TryGetValue(shape, out var known) ? known : new ShapeClass(shape);

    private DeviceLedger Another(int index) => others[index] ??= new DeviceLedger(cluster, NewPolicy, Ledger.Nodes.Count > DeviceLedger.FewNodes ? Ledger.Map : null);

    private PlacementPolicy NewPolicy(IReadOnlyList<NodeLedger> all) =>
        PlacementPolicies.Create((options ?? new CycleOptions()).Policy, all, mix ?? WorkloadMix.Unknown);

    private void Forget()
    {
        classes.Clear();
        used.Clear();
        capacity.Clear();
        endings.Clear();
        Array.Clear(others);
        waitingRows.Forget();
        runningRows.Forget();
        (ledger, empty, nodes) = (null, null, []);
        Lines.Clear();
        Nominated.Clear();
        Running.Clear();
        Elastic.Clear();
        Returning.Clear();
        FreedVersion++;
    }

    private void Follow(CycleInput input)
    {
        bool samePolicy = options?.Policy == input.Options.Policy && ReferenceEquals(mix, input.Mix);
        (options, mix) = (input.Options, input.Mix);
        if (ledger is null || !FollowNodes(input.Cluster))
        {
            Begin(input.Cluster);
        }
        else if (!samePolicy)
        {
            foreach (var each in others.Append(ledger).OfType<DeviceLedger>())
            {
                each.Judge(NewPolicy(each.Nodes));
            }
        }

        Ledger.Tidy();
        waitingRows.Follow(input.Waiting);
        runningRows.Follow(input.Running);
    }

    private void Begin(ClusterSnapshot next)
    {
        Forget();
        (cluster, nodes) = (next, [.. next.Nodes]);
        ledger = new DeviceLedger(next, NewPolicy);
        foreach (var node in nodes)
        {
            Count(node, 1);
        }
    }

    /// <summary>Takes in nodes that changed; false when others came, left, moved or have other devices.</summary>
    private bool FollowNodes(ClusterSnapshot next)
    {
        if (next.Nodes.Count != nodes.Length)
        {
            return false;
        }

        List<int> changed = [];
        for (int at = 0; at < nodes.Length; at++)
        {
            if (!ReferenceEquals(next.Nodes[at], nodes[at]))
            {
                if (!IsSameMachine(nodes[at], next.Nodes[at]))
                {
                    return false;
                }

                changed.Add(at);
            }
        }

        cluster = next;
        foreach (int at in changed)
        {
            var (before, after) = (nodes[at], next.Nodes[at]);
            nodes[at] = after;
            if (!IsSameOffer(before, after))
            {
                FreedVersion++;
                Count(before, -1);
                Count(after, 1);
                empty?.Change(at, after);
            }
            else if (HasMoreFree(before, after))
            {
                FreedVersion++;
            }

            Ledger.Nodes[at].Reset(after);
            foreach (var other in others)
            {
                other?.Nodes[at].Reset(after);
            }
        }

        return true;
    }

    private static bool IsSameMachine(NodeSnapshot before, NodeSnapshot after)
    {
        bool same = before.Name == after.Name && before.Devices.Count == after.Devices.Count
            && (ReferenceEquals(before.Topology, after.Topology) || (before.Topology.Count == after.Topology.Count && before.Topology.All(after.Topology.Contains)));
        for (int at = 0; same && at < before.Devices.Count; at++)
        {
            same = before.Devices[at].Index == after.Devices[at].Index;
        }

        return same;
    }

    /// <summary>Whether only what is free differs.</summary>
    private static bool IsSameOffer(NodeSnapshot before, NodeSnapshot after)
    {
        bool same = before with { FreeMemoryBytes = after.FreeMemoryBytes, FreeCpuMilli = after.FreeCpuMilli, Devices = after.Devices } == after;
        for (int at = 0; same && at < before.Devices.Count; at++)
        {
            var (one, other) = (before.Devices[at], after.Devices[at]);
            same = one.Healthy == other.Healthy && one.Kind == other.Kind && one.Model == other.Model && one.MemoryBytes == other.MemoryBytes;
        }

        return same;
    }

    private static bool HasMoreFree(NodeSnapshot before, NodeSnapshot after)
    {
        bool more = after.FreeMemoryBytes > before.FreeMemoryBytes || after.FreeCpuMilli > before.FreeCpuMilli;
        for (int at = 0; !more && at < before.Devices.Count; at++)
        {
            more = after.Devices[at].FreeMilli > before.Devices[at].FreeMilli;
        }

        return more;
    }

    private void Count(NodeSnapshot node, int times)
    {
        foreach (var device in node.Devices)
        {
            capacity[device.Kind] = capacity.GetValueOrDefault(device.Kind) + (1000L * times);
        }
    }

    private WaitingEntry Enter(PendingGang gang)
    {
        if (!classes.TryGetValue(gang.Shape, out var shape))
        {
            classes[gang.Shape] = shape = new ShapeClass(gang.Shape);
        }

        if (!Lines.TryGetValue(gang.Queue, out var line))
        {
            Lines[gang.Queue] = line = new WaitingLine(gang.Queue);
        }

        var entry = new WaitingEntry(gang, shape, line);
        shape.Users++;
        line.Add(entry);
        if (gang.Nominated is not null)
        {
            Nominated.Add(entry);
        }

        return entry;
    }

    private void Leave(WaitingEntry entry)
    {
        entry.Line.Remove(entry);
        if (--entry.Class.Users == 0)
        {
            classes.Remove(entry.Class.Shape);
        }

        if (entry.Line.Entries.Count == 0)
        {
            Lines.Remove(entry.Line.Queue);
        }

        if (entry.Gang.Nominated is not null)
        {
            Nominated.Remove(entry);
        }
    }

    private RunningEntry Enter(RunningGang gang)
    {
        Running.Add(gang.Gang, gang);
        Use(gang, gang.Milli);
        Ending? ending = null;
        if (gang.ExpectedEnd is { } end)
        {
            ending = new Ending(end, gang.Gang, Ledger.PlacesOf(gang.Placement), gang.Rank);
            int at = endings.BinarySearch(ending);
            endings.Insert(at < 0 ? ~at : at, ending);
        }

        if (gang.Shape is { NarrowerData.Count: > 0 })
        {
            Elastic.Add(gang);
        }

        if (gang.Returns is not null)
        {
            Returning.Add(gang);
        }

        return new RunningEntry(gang, ending);
    }

    private void Leave(RunningEntry entry)
    {
        Running.Remove(entry.Gang.Gang);
        Use(entry.Gang, -entry.Gang.Milli);
        if (entry.Ending is { } ending)
        {
            endings.RemoveAt(endings.BinarySearch(ending));
        }

        Elastic.Remove(entry.Gang);
        Returning.Remove(entry.Gang);
    }

    private void Use(RunningGang gang, long milli)
    {
        var key = (gang.Queue, gang.Rank.DeviceKind);
        long now = used.GetValueOrDefault(key) + milli;
        if (now == 0)
        {
            used.Remove(key);
        }
        else
        {
            used[key] = now;
        }
    }

    private sealed record RunningEntry(RunningGang Gang, Ending? Ending);
}
