namespace Platform.Torch.Collectives.Loopback;

/// <summary>
/// A world inside one process, one thread per rank: any parallel layout runs, bit for bit, without other processes.
/// </summary>
public sealed class LoopbackWorld : ICollectiveWorld
{
    private readonly LoopbackHub hub;
    private readonly Lock gate = new();
    private readonly Dictionary<string, LoopbackGroup> groups = [];
    private int disposed;

    private LoopbackWorld(LoopbackHub hub, int rank)
    {
        this.hub = hub;
        Rank = rank;
    }

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int Size => hub.Size;

    /// <inheritdoc/>
    public string? AbortReason => hub.Abort.Reason;

    /// <inheritdoc/>
    public CancellationToken Aborted => hub.Abort.Token;

    /// <summary>Makes the worlds of all ranks, in rank order. Each is disposed by the thread of its rank; a rank that does has left.</summary>
    public static IReadOnlyList<LoopbackWorld> CreateAll(int size, CollectiveOptions? options = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(size);
        options ??= new CollectiveOptions();
        options.Validate();
        var hub = new LoopbackHub(size, options);
        return [.. Enumerable.Range(0, size).Select(rank => new LoopbackWorld(hub, rank))];
    }

    /// <inheritdoc/>
    public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref disposed) != 0, this);
        var identity = GroupIdentity.Create(name, members, Rank, Size);
        lock (gate)
        {
            if (groups.ContainsKey(name))
                throw new ArgumentException($"rank {Rank} already has a group named {name}", nameof(name));
            var group = new LoopbackGroup(identity, hub.Options, hub.Abort, hub.Join(identity));
            groups.Add(name, group);
            return group;
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<CollectiveStatus> Status()
    {
        lock (gate)
            return [.. groups.Values.Select(group => group.Status)];
    }

    /// <inheritdoc/>
    public void Abort(string reason)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(reason);
        hub.Abort.Abort($"rank {Rank}: {reason}");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref disposed, 1) != 0)
            return;
        lock (gate)
            foreach (var group in groups.Values)
                group.Dispose();
        hub.Leave();
    }
}
