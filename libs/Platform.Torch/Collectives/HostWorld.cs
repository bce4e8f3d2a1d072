using Platform.Torch.Collectives.SharedMemory;
using Platform.Torch.Collectives.Tcp;

namespace Platform.Torch.Collectives;

/// <summary>A rank of a world of processes.</summary>
internal sealed class HostWorld : ICollectiveWorld
{
    private readonly IReadOnlyList<RankEndpoint> table;
    private readonly CollectiveOptions options;
    private readonly string token;
    private readonly WorldAbort abort;
    private readonly PeerConnections connections;
    private readonly Lock gate = new();
    private readonly Dictionary<string, CollectiveGroup> groups = [];
    private Thread? messenger;
    private int disposed;

    public HostWorld(HostListener listener, int rank, IReadOnlyList<RankEndpoint> table, string token, CollectiveOptions options)
    {
        Rank = rank;
        this.table = table;
        this.options = options;
        this.token = token;
        abort = new WorldAbort(Wake);
        connections = new PeerConnections(listener, rank, table, token, options, abort);
        connections.Start();
    }

    public int Rank { get; }

    public int Size => table.Count;

    public string? AbortReason => abort.Reason;

    public CancellationToken Aborted => abort.Token;

    public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref disposed) != 0, this);
        var identity = GroupIdentity.Create(name, members, Rank, Size);
        lock (gate)
        {
            if (groups.ContainsKey(name))
                throw new ArgumentException($"rank {Rank} already has a group named {name}", nameof(name));
            CollectiveGroup group = OnOneNode(members) && LinuxCalls.HasFutex
                ? new SharedMemoryGroup(identity, options, abort, token)
                : new TcpGroup(identity, options, abort, connections);
            groups.Add(name, group);
            if (abort.Reason is { } reason)
                group.WakeAborted(reason);
            return group;
        }
    }

    public IReadOnlyList<CollectiveStatus> Status()
    {
        lock (gate)
            return [.. groups.Values.Select(group => group.Status)];
    }

    public void Abort(string reason)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(reason);
        abort.Abort($"rank {Rank}: {reason}");
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref disposed, 1) != 0)
            return;
        CollectiveGroup[] all;
        lock (gate)
            all = [.. groups.Values];
        // Peers hear the reason before they see connections close.
        Volatile.Read(ref messenger)?.Join();
        foreach (var group in all)
            group.Dispose();
        connections.Dispose();
        abort.Dispose();
    }

    private bool OnOneNode(IReadOnlyList<int> members) =>
        members.All(member => table[member].NodeName == table[Rank].NodeName);

    private void Wake(string reason, bool tellPeers)
    {
        CollectiveGroup[] all;
        lock (gate)
            all = [.. groups.Values];
        foreach (var group in all)
            group.WakeAborted(reason);
        connections.Wake();
        if (!tellPeers)
            return;
        var thread = new Thread(() => connections.TellAll(reason)) { IsBackground = true, Name = $"abort of rank {Rank}" };
        Volatile.Write(ref messenger, thread);
        thread.Start();
    }
}
