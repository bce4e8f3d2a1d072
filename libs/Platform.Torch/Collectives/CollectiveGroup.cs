namespace Platform.Torch.Collectives;

/// <summary>
/// What all groups share: argument checks, numbering, status and the rule that one failure aborts the world. Transports
/// implement the operations proper.
/// </summary>
internal abstract class CollectiveGroup : ICollectiveGroup
{
    private readonly Action<string> abortWorld;
    private readonly long[] sent;
    private readonly long[] received;
    private StatusEntry entry;
    private long sequence;
    private int busy;
    private int disposed;

    protected CollectiveGroup(GroupIdentity identity, CollectiveOptions options, WorldAbort abort)
    {
        Identity = identity;
        Options = options;
        World = abort;
        abortWorld = abort.Abort;
        sent = new long[identity.Size];
        received = new long[identity.Size];
        entry = new StatusEntry(default, InProgress: false, Peer: null, DateTimeOffset.UtcNow);
    }

    public string Name => Identity.Name;

    public int Rank => Identity.Rank;

    public int Size => Identity.Size;

    public IReadOnlyList<int> Members => Identity.Members;

    public long Sequence => Volatile.Read(ref sequence);

    public virtual CollectiveStatus Status
    {
        get
        {
            var now = Volatile.Read(ref entry);
            var operation = now.Signature.Kind == (int)CollectiveKind.None
                ? null
                : now.Peer is { } peer ? $"{now.Signature.Name} {peer}" : now.Signature.Name;
            IReadOnlyList<int> waitingFor = !now.InProgress ? [] : now.PeerRank is { } awaited ? [awaited] : WorldRanks(NotEntered(now.Signature));
            return new CollectiveStatus(Name, Members, Sequence, operation, now.InProgress, now.Since, waitingFor);
        }
    }

    protected GroupIdentity Identity { get; }

    protected CollectiveOptions Options { get; }

    protected WorldAbort World { get; }

    protected bool IsDisposed => Volatile.Read(ref disposed) != 0;

    public void AllReduce(CollectiveBuffer buffer, ReduceOperation operation)
    {
        buffer.Validate(nameof(buffer));
        ValidateReduction(buffer, operation);
        var signature = Enter(CollectiveKind.AllReduce, buffer.Count, buffer.Element, operation, root: 0);
        try { AllReduceCore(signature, buffer, operation); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Leave(); }
    }

    public void ReduceScatter(CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
    {
        ValidateParts(whole: input, nameof(input), part: output, nameof(output));
        ValidateReduction(input, operation);
        var signature = Enter(CollectiveKind.ReduceScatter, input.Count, input.Element, operation, root: 0);
        try { ReduceScatterCore(signature, input, output, operation); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Leave(); }
    }

    public void AllGather(CollectiveBuffer input, CollectiveBuffer output)
    {
        ValidateParts(whole: output, nameof(output), part: input, nameof(input));
        var signature = Enter(CollectiveKind.AllGather, output.Count, output.Element, default, root: 0);
        try { AllGatherCore(signature, input, output); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Leave(); }
    }

    public void Broadcast(CollectiveBuffer buffer, int root)
    {
        buffer.Validate(nameof(buffer));
        ValidateMember(root, nameof(root));
        var signature = Enter(CollectiveKind.Broadcast, buffer.Count, buffer.Element, default, root);
        try { BroadcastCore(signature, buffer, root); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Leave(); }
    }

    public void Barrier()
    {
        var signature = Enter(CollectiveKind.Barrier, 0, default, default, root: 0);
        try { BarrierCore(signature); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Leave(); }
    }

    public void Send(CollectiveBuffer buffer, int peer)
    {
        ValidatePeer(buffer, nameof(buffer), peer, nameof(peer));
        var signature = EnterMessage(sent, buffer, peer, "to");
        try { SendCore(signature, buffer, peer); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Leave(); }
    }

    public void Receive(CollectiveBuffer buffer, int peer)
    {
        ValidatePeer(buffer, nameof(buffer), peer, nameof(peer));
        var signature = EnterMessage(received, buffer, peer, "from");
        try { ReceiveCore(signature, buffer, peer); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Leave(); }
    }

    public void PostReceive(CollectiveBuffer buffer, int peer)
    {
        ValidatePeer(buffer, nameof(buffer), peer, nameof(peer));
        Occupy();
        try { PostReceiveCore(OperationSignature.Message(received[peer] + 1, buffer), buffer, peer); }
        catch (CollectiveException exception) { Fail(exception); throw; }
        finally { Volatile.Write(ref busy, 0); }
    }

    public void SendReceive(CollectiveBuffer send, int destination, CollectiveBuffer receive, int source)
    {
        ValidatePeer(receive, nameof(receive), source, nameof(source));
        Send(send, destination);
        Receive(receive, source);
    }

    public void Abort(string reason)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(reason);
        abortWorld($"rank {Identity.WorldRank}: {reason}");
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref disposed, 1) == 0)
            DisposeCore();
    }

    /// <summary>Wakes this process's waiters, and those of peers that share memory with it. Any thread; no lock of the caller is held.</summary>
    internal abstract void WakeAborted(string reason);

    protected abstract void AllReduceCore(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation);

    protected abstract void ReduceScatterCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation);

    protected abstract void AllGatherCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output);

    protected abstract void BroadcastCore(OperationSignature signature, CollectiveBuffer buffer, int root);

    protected abstract void BarrierCore(OperationSignature signature);

    protected abstract void SendCore(OperationSignature signature, CollectiveBuffer buffer, int peer);

    protected abstract void ReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer);

    /// <summary>Begins to take in the message of this signature, which is the peer's next; never waits.</summary>
    protected virtual void PostReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
    }

    /// <summary>Group ranks known not to have entered this collective yet. Any thread.</summary>
    protected abstract IReadOnlyList<int> NotEntered(OperationSignature signature);

    protected abstract void DisposeCore();

    protected void ThrowIfAborted()
    {
        if (World.Reason is { } reason)
            throw Identity.Aborted(reason);
    }

    protected IReadOnlyList<int> WorldRanks(IReadOnlyList<int> groupRanks) => [.. groupRanks.Select(rank => Members[rank])];

    private OperationSignature Enter(CollectiveKind kind, long count, CollectiveElement element, ReduceOperation operation, int root)
    {
        Occupy();
        var number = sequence + 1;
        Volatile.Write(ref sequence, number);
        var signature = OperationSignature.Collective(kind, number, count, element, operation, root);
        Volatile.Write(ref entry, new StatusEntry(signature, InProgress: true, Peer: null, DateTimeOffset.UtcNow));
        return signature;
    }

    private OperationSignature EnterMessage(long[] numbers, CollectiveBuffer buffer, int peer, string preposition)
    {
        Occupy();
        var signature = OperationSignature.Message(++numbers[peer], buffer);
        var edge = $"{preposition} rank {Members[peer]}";
        Volatile.Write(ref entry, new StatusEntry(signature, InProgress: true, edge, DateTimeOffset.UtcNow) { PeerRank = Members[peer] });
        return signature;
    }

    private void Occupy()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        ThrowIfAborted();
        if (Interlocked.Exchange(ref busy, 1) != 0)
            throw new InvalidOperationException($"{Name} is in {Status.Operation}; a group runs one operation at a time");
    }

    private void Leave()
    {
        var last = Volatile.Read(ref entry);
        Volatile.Write(ref entry, last with { InProgress = false, Since = DateTimeOffset.UtcNow });
        Volatile.Write(ref busy, 0);
    }

    private void Fail(CollectiveException exception) =>
        abortWorld(exception is CollectiveAbortedException aborted ? aborted.Reason : exception.Message);

    private void ValidateMember(int rank, string parameter)
    {
        if (rank < 0 || rank >= Size)
            throw new ArgumentOutOfRangeException(parameter, rank, $"{Name} has members 0 to {Size - 1}");
    }

    private void ValidatePeer(CollectiveBuffer buffer, string bufferParameter, int peer, string parameter)
    {
        buffer.Validate(bufferParameter);
        ValidateMember(peer, parameter);
        if (peer == Rank)
            throw new ArgumentException("a rank sends no messages to itself", parameter);
    }

    private void ValidateParts(CollectiveBuffer whole, string wholeParameter, CollectiveBuffer part, string partParameter)
    {
        whole.Validate(wholeParameter);
        part.Validate(partParameter);
        if (whole.Element != part.Element)
            throw new ArgumentException($"{wholeParameter} holds {whole.Element.Describe()}, {partParameter} {part.Element.Describe()}", partParameter);
        if (whole.Count != part.Count * Size)
            throw new ArgumentException($"{wholeParameter} must have {Size} × {part.Count} elements for the {Size} ranks of {Name}, not {whole.Count}", wholeParameter);
    }

    private static void ValidateReduction(CollectiveBuffer buffer, ReduceOperation operation)
    {
        if (!Enum.IsDefined(operation))
            throw new ArgumentOutOfRangeException(nameof(operation), operation, "not a reduction");
        if (operation == ReduceOperation.Average && !buffer.Element.IsFloatingPoint())
            throw new ArgumentException($"an average of {buffer.Element.Describe()} is not defined; sum and divide instead", nameof(operation));
    }

    private sealed record StatusEntry(OperationSignature Signature, bool InProgress, string? Peer, DateTimeOffset Since)
    {
        /// <summary>World rank at the other end of a message.</summary>
        public int? PeerRank { get; init; }
    }
}
