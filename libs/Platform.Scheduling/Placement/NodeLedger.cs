using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Placement;

/// <summary>What is free on one node: the snapshot's figures less what has been given away since. One owner, no sharing.</summary>
public sealed class NodeLedger
{
    private readonly int[] freeMilli;

    /// <summary>Starts from a node's snapshot.</summary>
    /// <param name="node">The node.</param>
    /// <param name="index">Its place in the order of the cluster.</param>
    public NodeLedger(NodeSnapshot node, int index)
    {
        (Node, Index) = (node, index);
        FreeMemoryBytes = node.FreeMemoryBytes;
        FreeCpuMilli = node.FreeCpuMilli;
        freeMilli = [.. node.Devices.Select(device => device.FreeMilli)];
        IsUniform = node.Devices.All(device =>
            device.Healthy && device.Kind == node.Devices[0].Kind && device.Model == node.Devices[0].Model && device.MemoryBytes == node.Devices[0].MemoryBytes);
    }

    /// <summary>The node as it was.</summary>
    public NodeSnapshot Node { get; }

    /// <summary>Its place in the order of the cluster.</summary>
    public int Index { get; }

    /// <summary>Grows with each change.</summary>
    public int Version { get; private set; }

    /// <summary>Whether every device is healthy and like the others.</summary>
    public bool IsUniform { get; }

    /// <summary>Free host memory.</summary>
    public long FreeMemoryBytes { get; private set; }

    /// <summary>Free thousandths of processor cores.</summary>
    public long FreeCpuMilli { get; private set; }

    /// <summary>Free thousandths by position, which is the place in <see cref="NodeSnapshot.Devices"/>.</summary>
    public ReadOnlySpan<int> FreeMilli => freeMilli;

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
        if (!Node.Schedulable)
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

        int[] eligible = [.. Enumerable.Range(0, freeMilli.Length)
            .Where(position => freeMilli[position] >= request.DeviceMilli && Suits(request, position))
            .OrderBy(position => freeMilli[position]).ThenBy(position => position)];
        var slots = new List<int[]>();
        if (request.Devices == 1)
        {
            slots.AddRange(eligible.SelectMany(position => Enumerable.Repeat(position, SharesOn(request, position))).Take(limit).Select(position => new[] { position }));
            return slots;
        }

        for (int at = 0; at + request.Devices <= eligible.Length && slots.Count < limit; at += request.Devices)
        {
            slots.Add(eligible[at..(at + request.Devices)]);
        }

        return slots;
    }

    /// <summary>Gives away devices and a rank's part of the host.</summary>
    /// <exception cref="InvalidOperationException">It is not free.</exception>
    public void Take(RankRequest request, ReadOnlySpan<int> positions)
    {
        foreach (int position in positions)
        {
            if (request.DeviceMilli > freeMilli[position])
            {
                throw new InvalidOperationException(
                    $"Expected at least {request.DeviceMilli}‰ free on device {Node.Devices[position].Index} of {Node.Name}, found {freeMilli[position]}‰.");
            }

            freeMilli[position] -= request.DeviceMilli;
        }

        FreeMemoryBytes -= request.MemoryBytes;
        FreeCpuMilli -= request.CpuMilli;
        Version++;
    }

    /// <summary>Takes back what <see cref="Take"/> gave away.</summary>
    /// <exception cref="InvalidOperationException">It was not given away.</exception>
    public void Release(RankRequest request, ReadOnlySpan<int> positions)
    {
        foreach (int position in positions)
        {
            if (freeMilli[position] + request.DeviceMilli > 1000)
            {
                throw new InvalidOperationException(
                    $"Expected at most {1000 - request.DeviceMilli}‰ free on device {Node.Devices[position].Index} of {Node.Name}, found {freeMilli[position]}‰.");
            }

            freeMilli[position] += request.DeviceMilli;
        }

        FreeMemoryBytes += request.MemoryBytes;
        FreeCpuMilli += request.CpuMilli;
        Version++;
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
}
