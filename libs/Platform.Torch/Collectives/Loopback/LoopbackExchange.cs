namespace Platform.Torch.Collectives.Loopback;

/// <summary>
/// The memory and the meeting point that the members of one in-process group share. Each member copies what it contributes
/// into a stage of its own and reads everybody's after the meeting, so nobody touches another thread's buffers. Stages
/// alternate with the operation's number: one is reused only after every rank has entered the operation in between.
/// </summary>
internal sealed class LoopbackExchange
{
    private readonly object gate = new();
    private readonly WorldAbort abort;
    private readonly int bufferedMessages;
    private readonly OperationSignature[][] signatures;
    private readonly byte[][][] stages;
    private readonly long[] entered;
    private readonly bool[] departed;
    private readonly Queue<Message>[,] edges;

    public LoopbackExchange(IReadOnlyList<int> members, WorldAbort abort, int bufferedMessages)
    {
        Members = members;
        this.abort = abort;
        this.bufferedMessages = bufferedMessages;
        var size = members.Count;
        signatures = [new OperationSignature[size], new OperationSignature[size]];
        stages = [NewStages(size), NewStages(size)];
        entered = new long[size];
        departed = new bool[size];
        edges = new Queue<Message>[size, size];
        for (var from = 0; from < size; from++)
            for (var to = 0; to < size; to++)
                edges[from, to] = [];
    }

    public IReadOnlyList<int> Members { get; }

    /// <summary>A pinned stage of at least this length that belongs to the rank for this operation.</summary>
    public byte[] Stage(OperationSignature signature, int rank, long lengthBytes)
    {
        ref var stage = ref stages[signature.Sequence & 1][rank];
        if (stage.Length < lengthBytes)
            stage = GC.AllocateUninitializedArray<byte>(checked((int)lengthBytes), pinned: true);
        return stage;
    }

    /// <summary>Another rank's stage; valid after the meeting.</summary>
    public byte[] StageOf(OperationSignature signature, int rank) => stages[signature.Sequence & 1][rank];

    /// <summary>Waits until every member has entered the operation, and checks that all mean the same one.</summary>
    public void Meet(GroupIdentity identity, OperationSignature signature, TimeSpan timeout)
    {
        var deadline = Deadline.After(timeout);
        lock (gate)
        {
            signatures[signature.Sequence & 1][identity.Rank] = signature;
            entered[identity.Rank] = signature.Sequence;
            Monitor.PulseAll(gate);
            for (var missing = Missing(signature); missing.Count > 0; missing = Missing(signature))
            {
                ThrowIfAborted(identity);
                var gone = missing.Where(rank => departed[rank]).Select(rank => Members[rank]).ToArray();
                if (gone.Length > 0)
                    throw identity.Gone(signature, gone, "left");
                if (deadline.Expired)
                    throw identity.NotEntered(signature, [.. missing.Select(rank => Members[rank])], timeout);
                Monitor.Wait(gate, deadline.Remaining);
            }
            for (var rank = 0; rank < entered.Length; rank++)
                if (signatures[signature.Sequence & 1][rank] != signature)
                    throw identity.Mismatch(signature, signatures[signature.Sequence & 1][rank], rank);
        }
    }

    /// <summary>Queues a copy of the payload for a peer once the edge has room.</summary>
    public void Send(GroupIdentity identity, OperationSignature signature, ReadOnlySpan<byte> payload, int peer, TimeSpan timeout)
    {
        var edge = edges[identity.Rank, peer];
        var message = new Message(signature, payload.ToArray());
        var deadline = Deadline.After(timeout);
        lock (gate)
        {
            while (edge.Count >= bufferedMessages)
            {
                ThrowIfAborted(identity);
                if (departed[peer])
                    throw identity.Gone(signature, [Members[peer]], "left");
                if (deadline.Expired)
                    throw identity.NotReceived(signature, peer, timeout);
                Monitor.Wait(gate, deadline.Remaining);
            }
            edge.Enqueue(message);
            Monitor.PulseAll(gate);
        }
    }

    /// <summary>Takes the next message of a peer, waiting for it.</summary>
    public byte[] Receive(GroupIdentity identity, OperationSignature signature, int peer, TimeSpan timeout)
    {
        var edge = edges[peer, identity.Rank];
        var deadline = Deadline.After(timeout);
        lock (gate)
        {
            while (edge.Count == 0)
            {
                ThrowIfAborted(identity);
                if (departed[peer])
                    throw identity.Gone(signature, [Members[peer]], "left");
                if (deadline.Expired)
                    throw identity.NotSent(signature, peer, timeout);
                Monitor.Wait(gate, deadline.Remaining);
            }
            var message = edge.Dequeue();
            Monitor.PulseAll(gate);
            if (message.Signature != signature)
                throw identity.Mismatch(signature, message.Signature, peer);
            return message.Payload;
        }
    }

    public IReadOnlyList<int> NotEntered(OperationSignature signature)
    {
        lock (gate)
            return Missing(signature);
    }

    public void Leave(int rank)
    {
        lock (gate)
        {
            departed[rank] = true;
            Monitor.PulseAll(gate);
        }
    }

    public void Wake()
    {
        lock (gate)
            Monitor.PulseAll(gate);
    }

    private List<int> Missing(OperationSignature signature)
    {
        var missing = new List<int>();
        for (var rank = 0; rank < entered.Length; rank++)
            if (entered[rank] < signature.Sequence)
                missing.Add(rank);
        return missing;
    }

    private void ThrowIfAborted(GroupIdentity identity)
    {
        if (abort.Reason is { } reason)
            throw identity.Aborted(reason);
    }

    private static byte[][] NewStages(int size) => [.. Enumerable.Repeat(Array.Empty<byte>(), size)];

    private readonly record struct Message(OperationSignature Signature, byte[] Payload);
}
