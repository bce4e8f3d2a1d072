using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Placement;

/// <summary>All that costs depend on, for a node whose devices are alike and equally free.</summary>
internal readonly record struct EvenNode(string Kind, string Model, int Devices, int FreeMilli, bool CountsCpu, long FreeCpuMilli);

/// <summary>What is free on one node: the snapshot's figures less what has been given away since. One owner, no sharing.</summary>
public sealed class NodeLedger
{
    private readonly NodeJournal? journal;
    private int[] ownMilli = [];
    private int[] freeMilli = [];
    private int[]? withheldMilli;
    private long ownMemoryBytes;
    private long ownCpuMilli;
    private long withheldMemoryBytes;
    private long withheldCpuMilli;
    private bool excluded;

    /// <summary>Starts from a node's snapshot.</summary>
    /// <param name="node">The node.</param>
    /// <param name="index">Its place in the order of the cluster.</param>
    public NodeLedger(NodeSnapshot node, int index)
        : this(node, index, null)
    {
    }

    internal NodeLedger(NodeSnapshot node, int index, NodeJournal? journal)
    {
        (Node, Index, this.journal) = (node, index, journal);
        Read(node);
    }

    /// <summary>The node as it was.</summary>
    public NodeSnapshot Node { get; private set; }

    /// <summary>Its place in the order of the cluster.</summary>
    public int Index { get; }

    /// <summary>Grows with each change.</summary>
    public int Version { get; private set; }

    /// <summary>Whether every device is healthy and like the others.</summary>
    public bool IsUniform { get; private set; }

    /// <summary>Free host memory.</summary>
    public long FreeMemoryBytes => Left(ownMemoryBytes, withheldMemoryBytes);

    /// <summary>Free thousandths of processor cores.</summary>
    public long FreeCpuMilli => Left(ownCpuMilli, withheldCpuMilli);

    /// <summary>Free thousandths by position, which is the place in <see cref="NodeSnapshot.Devices"/>.</summary>
    public ReadOnlySpan<int> FreeMilli => freeMilli;

    /// <summary>What costs depend on here; null when devices differ in kind or in what is free of them.</summary>
    internal EvenNode? EvenState => IsUniform && freeMilli.Length > 0 && freeMilli.AsSpan().IndexOfAnyExcept(freeMilli[0]) < 0
        ? new EvenNode(Node.Devices[0].Kind, Node.Devices[0].Model, freeMilli.Length, freeMilli[0], Node.CpuMilli > 0, FreeCpuMilli)
        : null;

    /// <summary>Whether nothing may be placed here for now, whatever is free.</summary>
    internal bool Excluded
    {
        set
        {
            excluded = value;
            Note();
        }
    }

    /// <summary>Whether a device is of a kind, model and size that the request takes, whatever of it is free.</summary>
    public bool Suits(RankRequest request, int position)
    {
        var device = Node.Devices[position];
        return device.Healthy && device.Kind == request.DeviceKind && request.Accepts(device.Model)
            && (request.DeviceMemoryBytes == 0 || device.MemoryBytes * (double)request.DeviceMilli / 1000 >= request.DeviceMemoryBytes);
    }

    /// <summary>Ranks that the node's processors and memory still hold, at most <paramref name="limit"/>.</summary>
    public int HostLimit(RankRequest request, int limit)
    {
        if (!Node.Schedulable || excluded || !Node.Admits(request))
        {
            return 0;
        }

        if (request.MemoryBytes > 0)
        {
            limit = (int)Math.Min(limit, Math.Max(0, FreeMemoryBytes) / request.MemoryBytes);
        }

        return request.CpuMilli > 0 ? (int)Math.Min(limit, Math.Max(0, FreeCpuMilli) / request.CpuMilli) : limit;
    }

    /// <summary>Ranks of the request that fit at once, at most <paramref name="limit"/>.</summary>
    public int CountFit(RankRequest request, int limit)
    {
        limit = HostLimit(request, limit);
        if (limit <= 0 || request.Devices == 0)
        {
            return Math.Max(0, limit);
        }

        bool uniformSuits = IsUniform && freeMilli.Length > 0 && Suits(request, 0);
        if (IsUniform && !uniformSuits)
        {
            return 0;
        }

        int shares = 0;
        for (int position = 0; position < freeMilli.Length && shares < limit * request.Devices; position++)
        {
            if (freeMilli[position] >= request.DeviceMilli && (uniformSuits || Suits(request, position)))
            {
                shares += SharesOn(request, position);
            }
        }

        return Math.Min(limit, shares / request.Devices);
    }

    /// <summary>Device positions of as many ranks as fit now, at most <paramref name="limit"/>, tightest devices first.</summary>
    public IReadOnlyList<int[]> Slots(RankRequest request, int limit)
    {
        limit = HostLimit(request, limit);
        if (limit <= 0)
        {
            return [];
        }

        if (request.Devices == 0)
        {
            return [.. Enumerable.Repeat<int[]>([], limit)];
        }

        Span<int> eligible = stackalloc int[freeMilli.Length];
        int count = 0;
        for (int position = 0; position < freeMilli.Length; position++)
        {
            if (freeMilli[position] >= request.DeviceMilli && Suits(request, position))
            {
                // Tightest first, by insertion: a node has few devices.
                int at = count++;
                for (; at > 0 && freeMilli[eligible[at - 1]] > freeMilli[position]; at--)
                {
                    eligible[at] = eligible[at - 1];
                }

                eligible[at] = position;
            }
        }

        eligible = eligible[..count];
        var slots = new List<int[]>();
        if (request.Devices == 1)
        {
            foreach (int position in eligible)
            {
                for (int share = SharesOn(request, position); share > 0 && slots.Count < limit; share--)
                {
                    slots.Add([position]);
                }
            }

            return slots;
        }

        for (int at = 0; at + request.Devices <= eligible.Length && slots.Count < limit; at += request.Devices)
        {
            slots.Add(eligible[at..(at + request.Devices)].ToArray());
        }

        return slots;
    }

    /// <summary>Healthy devices of the request's kind and what is free of them; none when the node is out of service.</summary>
    internal (int Usable, int FreeMilli) FiguresOf(RankRequest request)
    {
        if (!Node.Schedulable || !Node.Admits(request) || (IsUniform && (freeMilli.Length == 0 || Node.Devices[0].Kind != request.DeviceKind || !Node.Devices[0].Healthy)))
        {
            return (0, 0);
        }

        int usable = 0, free = 0;
        for (int position = 0; position < freeMilli.Length; position++)
        {
            if (IsUniform || (Node.Devices[position].Healthy && Node.Devices[position].Kind == request.DeviceKind))
            {
                usable++;
                free += freeMilli[position];
            }
        }

        return (usable, free);
    }

    /// <summary>Device positions of so many ranks: the policy's choice for one, the tightest devices first for several.</summary>
    internal IReadOnlyList<int[]> SlotsFor(RankRequest request, int ranks, PlacementPolicy policy)
    {
        if (ranks != 1)
        {
            return Slots(request, ranks);
        }

        int[] positions = new int[request.Devices];
        return policy.TryChoose(this, request, positions, out _) ? [positions] : [];
    }

    /// <summary>Gives away devices and a rank's part of the host.</summary>
    /// <exception cref="InvalidOperationException">It is not free.</exception>
    public void Take(RankRequest request, ReadOnlySpan<int> positions) => Take(request, positions, 1);

    /// <summary>Takes back what <see cref="Take(RankRequest, ReadOnlySpan{int})"/> gave away.</summary>
    /// <exception cref="InvalidOperationException">It was not given away.</exception>
    public void Release(RankRequest request, ReadOnlySpan<int> positions) => Release(request, positions, 1);

    /// <summary>Gives away the devices of several ranks and their part of the host.</summary>
    internal void Take(RankRequest request, ReadOnlySpan<int> positions, int ranks)
    {
        foreach (int position in positions)
        {
            if (request.DeviceMilli > freeMilli[position])
            {
                throw new InvalidOperationException(
                    $"Expected at least {request.DeviceMilli}‰ free on device {Node.Devices[position].Index} of {Node.Name}, found {freeMilli[position]}‰.");
            }

            Move(position, -request.DeviceMilli);
        }

        MoveHost(request, -ranks);
        Note();
    }

    /// <summary>Takes back what several ranks were given.</summary>
    internal void Release(RankRequest request, ReadOnlySpan<int> positions, int ranks)
    {
        foreach (int position in positions)
        {
            if (ownMilli[position] + request.DeviceMilli > 1000)
            {
                throw new InvalidOperationException(
                    $"Expected at most {1000 - request.DeviceMilli}‰ free on device {Node.Devices[position].Index} of {Node.Name}, found {ownMilli[position]}‰.");
            }

            Move(position, request.DeviceMilli);
        }

        MoveHost(request, ranks);
        Note();
    }

    /// <summary>Undoes a release, whatever has been withheld since.</summary>
    internal void Retake(RankRequest request, ReadOnlySpan<int> positions, int ranks)
    {
        foreach (int position in positions)
        {
            Move(position, -request.DeviceMilli);
        }

        MoveHost(request, -ranks);
        Note();
    }

    /// <summary>Keeps so much of what is or becomes free from being given away, or with a negative number of ranks no longer.</summary>
    internal void Withhold(RankRequest request, ReadOnlySpan<int> positions, int ranks)
    {
        withheldMilli ??= new int[freeMilli.Length];
        int milli = ranks < 0 ? -request.DeviceMilli : request.DeviceMilli;
        foreach (int position in positions)
        {
            withheldMilli[position] += milli;
            Move(position, 0);
        }

        withheldMemoryBytes += ranks * request.MemoryBytes;
        withheldCpuMilli += ranks * request.CpuMilli;
        Note();
    }

    /// <summary>The node has changed; nothing is withheld or given away of it.</summary>
    internal void Reset(NodeSnapshot node)
    {
        Node = node;
        Read(node);
        Note();
    }

    /// <summary>What so many ranks cost here by a policy; several are judged one after the other.</summary>
    internal double CostOf(RankRequest request, int ranks, PlacementPolicy policy)
    {
        Span<int> positions = stackalloc int[request.Devices];
        if (ranks == 1)
        {
            return policy.TryChoose(this, request, positions, out double cost) ? cost : double.PositiveInfinity;
        }

        double sum = 0;
        var slots = Slots(request, ranks);
        foreach (int[] slot in slots)
        {
            sum += policy.CostAt(this, request, slot);
            foreach (int position in slot)
            {
                Move(position, -request.DeviceMilli);
            }

            MoveHost(request, -1);
        }

        foreach (int[] slot in slots)
        {
            foreach (int position in slot)
            {
                Move(position, request.DeviceMilli);
            }

            MoveHost(request, 1);
        }

        return sum;
    }

    /// <summary>Position of a device by its index on the node.</summary>
    public int PositionOf(int device)
    {
        if (device < freeMilli.Length && Node.Devices[device].Index == device)
        {
            return device;
        }

        for (int position = 0; position < freeMilli.Length; position++)
        {
            if (Node.Devices[position].Index == device)
            {
                return position;
            }
        }

        throw new ArgumentOutOfRangeException(nameof(device), device, $"{Node.Name} has no such device.");
    }

    // A share of a CPU device is as good beside another of the same gang as alone, so several ranks may share one device;
    // two ranks of one collective on one GPU are not supported by NCCL, so there each gets another device.
    private int SharesOn(RankRequest request, int position) =>
        request.Devices == 1 && Node.Devices[position].Kind == "cpu" ? freeMilli[position] / request.DeviceMilli : 1;

    private static long Left(long own, long withheld) => withheld == 0 || own <= 0 ? own : Math.Max(0, own - withheld);

    private void Read(NodeSnapshot node)
    {
        int count = node.Devices.Count;
        if (ownMilli.Length != count)
        {
            (ownMilli, freeMilli) = (new int[count], new int[count]);
        }

        withheldMilli = null;
        (withheldMemoryBytes, withheldCpuMilli, excluded) = (0, 0, false);
        (ownMemoryBytes, ownCpuMilli) = (node.FreeMemoryBytes, node.FreeCpuMilli);
        IsUniform = true;
        for (int position = 0; position < count; position++)
        {
            var (device, first) = (node.Devices[position], node.Devices[0]);
            ownMilli[position] = freeMilli[position] = device.FreeMilli;
            IsUniform &= device.Healthy && device.Kind == first.Kind && device.Model == first.Model && device.MemoryBytes == first.MemoryBytes;
        }
    }

    private void Move(int position, int milli)
    {
        ownMilli[position] += milli;
        freeMilli[position] = withheldMilli is null ? ownMilli[position] : Math.Max(0, ownMilli[position] - withheldMilli[position]);
    }

    private void MoveHost(RankRequest request, int ranks)
    {
        ownMemoryBytes += ranks * request.MemoryBytes;
        ownCpuMilli += ranks * request.CpuMilli;
    }

    private void Note()
    {
        Version++;
        journal?.Note(Index);
    }
}
