namespace Platform.Torch.Collectives.Loopback;

/// <summary>What the ranks of one in-process world share: their groups' exchanges and their fate.</summary>
internal sealed class LoopbackHub
{
    private readonly Lock gate = new();
    private readonly Dictionary<string, LoopbackExchange> exchanges = [];
    private int present;

    public LoopbackHub(int size, CollectiveOptions options)
    {
        Size = size;
        Options = options;
        present = size;
        Abort = new WorldAbort((_, _) => WakeAll());
    }

    public int Size { get; }

    public CollectiveOptions Options { get; }

    public WorldAbort Abort { get; }

    /// <summary>The exchange of a group, made by whichever member comes first.</summary>
    public LoopbackExchange Join(GroupIdentity identity)
    {
        lock (gate)
        {
            if (!exchanges.TryGetValue(identity.Name, out var exchange))
                exchanges.Add(identity.Name, exchange = new LoopbackExchange(identity.Members, Abort, Options.PendingMessagesPerEdge));
            if (!exchange.Members.SequenceEqual(identity.Members))
                throw new ArgumentException(
                    $"rank {identity.WorldRank} makes {identity.Name} of [{string.Join(", ", identity.Members)}], another rank of [{string.Join(", ", exchange.Members)}]");
            return exchange;
        }
    }

    /// <summary>A rank is done; the last one out clears up.</summary>
    public void Leave()
    {
        if (Interlocked.Decrement(ref present) == 0)
            Abort.Dispose();
    }

    private void WakeAll()
    {
        LoopbackExchange[] all;
        lock (gate)
            all = [.. exchanges.Values];
        foreach (var exchange in all)
            exchange.Wake();
    }
}
