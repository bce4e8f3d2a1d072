using Platform.Torch.Collectives.Messages;

namespace Platform.Torch.Collectives.Tcp;

/// <summary>The links of one group, made when first needed, and the loop that drives exchanges over them.</summary>
internal sealed class TcpLinks(GroupIdentity identity, CollectiveOptions options, WorldAbort abort, PeerConnections connections) : IDisposable
{
    private const int SliceMilliseconds = 100;

    /// <summary>After a connection closes, how long the reason may take to arrive by another.</summary>
    private static readonly TimeSpan ReasonPatience = TimeSpan.FromMilliseconds(500);

    private readonly TcpLink?[] links = new TcpLink?[identity.Size];
    private readonly LinuxCalls.PollEntry[] entries = new LinuxCalls.PollEntry[identity.Size];
    private Deadline deadline;

    public void Begin() => deadline = Deadline.After(options.Timeout);

    /// <summary>The link to a peer. The lower rank connects, the higher waits for it.</summary>
    public TcpLink To(int peer, OperationSignature signature)
    {
        if (links[peer] is { } link)
            return link;
        var socket = identity.Rank < peer
            ? connections.Connect(ConnectionPurpose.Collective, identity.Name, identity.Members[peer])
            : connections.Await(ConnectionPurpose.Collective, identity, peer, deadline)
                ?? throw identity.NotEntered(signature, [identity.Members[peer]], options.Timeout);
        link = new TcpLink(socket, peer);
        Volatile.Write(ref links[peer], link);
        return link;
    }

    /// <summary>Runs until everything that the links have queued has gone out and come in.</summary>
    public void Run(OperationSignature signature)
    {
        while (true)
        {
            var moved = false;
            var waiting = 0;
            foreach (var link in links)
            {
                if (link is null)
                    continue;
                moved |= Advance(link, signature);
                if (link.WantsToSend || link.WantsToReceive)
                    entries[waiting++] = new LinuxCalls.PollEntry
                    {
                        Descriptor = link.Descriptor,
                        Events = (short)((link.WantsToSend ? LinuxCalls.PollOut : 0) | (link.WantsToReceive ? LinuxCalls.PollIn : 0)),
                    };
            }
            if (waiting == 0)
                return;
            if (moved)
                continue;
            if (abort.Reason is { } reason)
                throw identity.Aborted(reason);
            if (deadline.Expired)
                throw TimedOut(signature);
            LinuxCalls.Poll(entries.AsSpan(0, waiting), deadline.Milliseconds(SliceMilliseconds));
        }
    }

    /// <summary>Peers that have not announced this collective yet.</summary>
    public IReadOnlyList<int> NotEntered(OperationSignature signature)
    {
        if (signature.Kind == (int)CollectiveKind.Broadcast && signature.Root == identity.Rank)
            return [];
        return [.. Enumerable.Range(0, identity.Size).Where(peer =>
            peer != identity.Rank
            && (signature.Kind != (int)CollectiveKind.Broadcast || peer == signature.Root)
            && (Volatile.Read(ref links[peer])?.Entered ?? 0) < signature.Sequence)];
    }

    public void Wake()
    {
        for (var peer = 0; peer < links.Length; peer++)
            Volatile.Read(ref links[peer])?.Wake();
    }

    public void Dispose()
    {
        foreach (var link in links)
            link?.Dispose();
    }

    private bool Advance(TcpLink link, OperationSignature signature)
    {
        try
        {
            return link.Advance(identity);
        }
        catch (PipeClosedException exception)
        {
            if (abort.WaitAborted(ReasonPatience) && abort.Reason is { } reason)
                throw identity.Aborted(reason);
            throw identity.Gone(signature, [identity.Members[link.Peer]], exception.Message);
        }
    }

    private CollectiveTimeoutException TimedOut(OperationSignature signature)
    {
        var missing = links.OfType<TcpLink>().Where(link => link.HeaderDue).ToArray();
        return missing.Length > 0
            ? identity.NotEntered(signature, [.. missing.Select(link => identity.Members[link.Peer])], options.Timeout)
            : identity.NotFinished(signature, [.. links.OfType<TcpLink>().Where(link => link.WantsToSend || link.WantsToReceive).Select(link => identity.Members[link.Peer])], options.Timeout);
    }
}
