using Platform.Torch.Cuda;

namespace Platform.Torch.Collectives.Nccl;

/// <summary>
/// A group of ranks with a CUDA device each. Device memory moves through NCCL on streams of the group's own; host memory
/// moves through the group of host memory it is built on, which also carries the communicators' identifiers.
/// </summary>
/// <remarks>
/// A call from the thread that made the group returns once the work is on its stream, and what that thread puts on the
/// device's default stream afterwards waits for it there. A call from any other thread returns when the work is done, so
/// that a thread which communicates in the background does not hold up the one that computes. Either way failures of
/// work under way end the world through the watchdog.
/// </remarks>
internal sealed unsafe class NcclGroup : CollectiveGroup
{
    private const nint ComputeStream = 0;

    private readonly CudaDevice _device;
    private readonly NcclLibrary _library;
    private readonly ICollectiveGroup _host;
    private readonly TimeProvider _time;
    private readonly Thread _owner = Thread.CurrentThread;
    private readonly Lock _gate = new();
    private readonly Lock _observing = new();
    private readonly Dictionary<int, NcclEdge> _outgoing = [];
    private readonly Dictionary<int, NcclEdge> _incoming = [];
    private readonly PendingOperations _pending;
    private readonly nint _stream;
    private readonly nint _copies;
    private NcclCommunicator? _communicator;

    public NcclGroup(
        GroupIdentity identity, CollectiveOptions options, WorldAbort abort, CudaDevice device, NcclLibrary library, ICollectiveGroup host,
        TimeProvider time)
        : base(identity, options, abort)
    {
        (_device, _library, _host, _time) = (device, library, host, time);
        device.MakeCurrent();
        _pending = new PendingOperations(device, time);
        _stream = device.CreateStream();
        _copies = device.CreateStream();
    }

    public override CollectiveStatus Status
    {
        get
        {
            var entered = base.Status;
            return !entered.InProgress && Observe(_pending.Oldest) is { } pending
                ? entered with { Operation = Describe(pending), InProgress = true, Since = pending.Enqueued }
                : entered;
        }
    }

    /// <summary>Why the group cannot go on: NCCL says so, or an operation takes longer than the timeout. Null while it can. Any thread.</summary>
    public string? Trouble() => Observe(() =>
    {
        foreach (var communicator in Communicators())
        {
            if (communicator.AsyncError() is { } error)
                return $"NCCL failed in {Name}: {error}";
        }

        return _pending.Oldest() is { } pending && _pending.Age(pending) > Options.Timeout
            ? $"{Describe(pending)} of {Name} is not done on rank {Identity.WorldRank} within {Options.Timeout.TotalSeconds:0.###} s"
            : null;
    });

    internal override void WakeAborted(string reason)
    {
        foreach (var communicator in Communicators())
            communicator.Abort();
    }

    protected override void AllReduceCore(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        if (buffer.Space == MemorySpace.Host)
            _host.AllReduce(buffer, operation);
        else if (IsNeeded(buffer))
            Collective(signature, communicator => _library.AllReduce(
                buffer.Address, buffer.Address, (nuint)buffer.Count, NcclLibrary.TypeOf(buffer.Element), NcclLibrary.OperationOf(operation),
                communicator, _stream));
    }

    protected override void ReduceScatterCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
    {
        if (SpaceOf(input, output) == MemorySpace.Host)
            _host.ReduceScatter(input, output, operation);
        else if (output.Count > 0)
            Collective(signature, communicator => _library.ReduceScatter(
                input.Address, output.Address, (nuint)output.Count, NcclLibrary.TypeOf(input.Element), NcclLibrary.OperationOf(operation),
                communicator, _stream));
    }

    protected override void AllGatherCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output)
    {
        if (SpaceOf(input, output) == MemorySpace.Host)
            _host.AllGather(input, output);
        else if (input.Count > 0)
            Collective(signature, communicator => _library.AllGather(
                input.Address, output.Address, (nuint)input.Count, NcclLibrary.TypeOf(input.Element), communicator, _stream));
    }

    protected override void BroadcastCore(OperationSignature signature, CollectiveBuffer buffer, int root)
    {
        if (buffer.Space == MemorySpace.Host)
            _host.Broadcast(buffer, root);
        else if (IsNeeded(buffer))
            Collective(signature, communicator => _library.Broadcast(
                buffer.Address, buffer.Address, (nuint)buffer.Count, NcclLibrary.TypeOf(buffer.Element), root, communicator, _stream));
    }

    protected override void BarrierCore(OperationSignature signature) => _host.Barrier();

    protected override void SendCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        if (buffer.Space == MemorySpace.Host)
        {
            _host.Send(buffer, peer);
            return;
        }

        if (buffer.Count == 0)
            return;
        _device.MakeCurrent();
        var edge = Edge(_outgoing, peer, isSender: true);
        var slot = edge.NextSlot();
        var deadline = Deadline.After(Options.Timeout);
        while (slot.Sent != 0 && !_device.IsDone(slot.Sent))
            Pause(deadline, () => Identity.NotReceived(signature, peer, Options.Timeout));
        edge.Fit(slot, buffer.LengthBytes);
        if (slot.Sent == 0)
            slot.Sent = _device.CreateEvent();

        // The copy has a stream of its own, so that it does not stand behind a message that nobody has received.
        var copied = _pending.RentEvent();
        _device.Order(ComputeStream, _copies, copied);
        Driver(_device.Driver.CopyDeviceToDevice(slot.Address, buffer.Address, (nuint)buffer.LengthBytes, _copies), "cuMemcpyDtoDAsync");
        _device.Order(_copies, edge.Stream, copied);
        _library.Check(
            _library.Send(slot.Address, (nuint)buffer.Count, NcclLibrary.TypeOf(buffer.Element), 1, edge.Communicator.Handle, edge.Stream),
            $"ncclSend of {signature.Name} in {Name}", edge.Communicator.Handle);
        Driver(_device.Driver.EventRecord(slot.Sent, edge.Stream), "cuEventRecord");
        var done = _pending.RentEvent();
        Driver(_device.Driver.EventRecord(done, edge.Stream), "cuEventRecord");
        _pending.Add(edge.Stream, signature, $"to rank {Members[peer]}", done);
        Wait(copied, deadline, signature);
        _pending.Return(copied);
    }

    protected override void ReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        if (buffer.Space == MemorySpace.Host)
        {
            _host.Receive(buffer, peer);
            return;
        }

        if (buffer.Count == 0)
            return;
        _device.MakeCurrent();
        var edge = Edge(_incoming, peer, isSender: false);
        if (edge.TakePosted() is not { } posted)
        {
            Follow(edge.Stream, signature, $"from rank {Members[peer]}", Enqueue(edge, signature, buffer));
            return;
        }

        if (posted.Address != buffer.Address)
            throw new InvalidOperationException($"{signature.Name} from rank {Members[peer]} of {Name} was begun with another buffer.");
        Follow(edge.Stream, signature, $"from rank {Members[peer]}", posted.Done);
    }

    protected override void PostReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        // The first message of an edge brings its communicator about, which takes both ends.
        if (buffer.Space == MemorySpace.Host)
        {
            _host.PostReceive(buffer, peer);
        }
        else if (buffer.Count > 0 && _incoming.TryGetValue(peer, out var edge))
        {
            _device.MakeCurrent();
            edge.Post(buffer.Address, () => Enqueue(edge, signature, buffer));
        }
    }

    /// <summary>Puts a receive behind what the device has been given so far, which may still use the buffer's memory.</summary>
    /// <returns>An event behind it.</returns>
    private nint Enqueue(NcclEdge edge, OperationSignature signature, CollectiveBuffer buffer)
    {
        var done = _pending.RentEvent();
        _device.Order(ComputeStream, edge.Stream, done);
        _library.Check(
            _library.Receive(buffer.Address, (nuint)buffer.Count, NcclLibrary.TypeOf(buffer.Element), 0, edge.Communicator.Handle, edge.Stream),
            $"ncclRecv of {signature.Name} in {Name}", edge.Communicator.Handle);
        Driver(_device.Driver.EventRecord(done, edge.Stream), "cuEventRecord");
        return done;
    }

    protected override IReadOnlyList<int> NotEntered(OperationSignature signature) => [];

    protected override void DisposeCore()
    {
        try
        {
            _device.MakeCurrent();
            var deadline = Deadline.After(Options.Timeout);
            while (World.Reason is null && !deadline.Expired && _pending.Oldest() is not null)
                World.WaitAborted(TimeSpan.FromMilliseconds(1));
            if (_pending.Oldest() is not null)
                WakeAborted("disposed with operations under way");
        }
        catch (CudaException)
        {
            // The device is of no further use; what it held is freed with the process.
            WakeAborted("the device failed");
            return;
        }

        lock (_observing)
        {
            _communicator?.Dispose();
            foreach (var edge in _outgoing.Values.Concat(_incoming.Values))
                edge.Dispose();
            _pending.Dispose();
            _device.Driver.StreamDestroy(_stream);
            _device.Driver.StreamDestroy(_copies);
        }

        _host.Dispose();
    }

    private static string Describe(PendingOperations.Entry pending) =>
        pending.Peer is { } peer ? $"{pending.Signature.Name} {peer}" : pending.Signature.Name;

    /// <summary>Looks at the device from any thread, unless the group has ended.</summary>
    private T? Observe<T>(Func<T?> look)
        where T : class
    {
        lock (_observing)
        {
            if (IsDisposed || World.Reason is not null)
                return null;
            _device.MakeCurrent();
            return look();
        }
    }

    private static MemorySpace SpaceOf(CollectiveBuffer input, CollectiveBuffer output) => input.Space == output.Space
        ? input.Space
        : throw new ArgumentException("Input and output of a collective lie in one memory space.", nameof(output));

    private bool IsNeeded(CollectiveBuffer buffer) => buffer.Count > 0 && Size > 1;

    private void Collective(OperationSignature signature, Func<nint, int> enqueue)
    {
        _device.MakeCurrent();
        var communicator = Whole();
        var done = _pending.RentEvent();
        _device.Order(ComputeStream, _stream, done);
        _library.Check(enqueue(communicator.Handle), $"{signature.Name} of {Name}", communicator.Handle);
        Driver(_device.Driver.EventRecord(done, _stream), "cuEventRecord");
        Follow(_stream, signature, null, done);
    }

    /// <summary>
    /// Makes the caller's later work wait for an operation: on the device for the thread that computes, else here. The event
    /// behind the operation is given away.
    /// </summary>
    private void Follow(nint stream, OperationSignature signature, string? peer, nint done)
    {
        if (Thread.CurrentThread == _owner)
        {
            // An event that is done may already stand for a later operation; waiting for that one too is harmless.
            _pending.Add(stream, signature, peer, done);
            Driver(_device.Driver.StreamWaitEvent(ComputeStream, done, 0), "cuStreamWaitEvent");
            return;
        }

        Wait(done, Deadline.After(Options.Timeout), signature);
        _pending.Return(done);
    }

    private void Wait(nint recorded, Deadline deadline, OperationSignature signature)
    {
        if (Thread.CurrentThread == _owner)
        {
            Driver(_device.Driver.StreamWaitEvent(ComputeStream, recorded, 0), "cuStreamWaitEvent");
            return;
        }

        while (!_device.IsDone(recorded))
            Pause(deadline, () => Identity.NotFinished(signature, [Identity.WorldRank], Options.Timeout));
    }

    private void Pause(Deadline deadline, Func<CollectiveException> expired)
    {
        ThrowIfAborted();
        if (deadline.Expired)
            throw expired();
        Thread.Sleep(0);
    }

    private NcclCommunicator Whole()
    {
        if (_communicator is { } made)
            return made;
        NcclUniqueId id = default;
        if (Rank == 0)
            _library.Check(_library.GetUniqueId(&id), "ncclGetUniqueId", 0);
        if (Size > 1)
            _host.Broadcast(new CollectiveBuffer((nint)(&id), NcclUniqueId.Size, CollectiveElement.Byte), 0);
        return Keep(new NcclCommunicator(_library, id, Size, Rank, Name), made => _communicator = made);
    }

    private NcclEdge Edge(Dictionary<int, NcclEdge> edges, int peer, bool isSender)
    {
        if (edges.TryGetValue(peer, out var known))
            return known;
        NcclUniqueId id = default;
        var buffer = new CollectiveBuffer((nint)(&id), NcclUniqueId.Size, CollectiveElement.Byte);
        if (isSender)
        {
            _library.Check(_library.GetUniqueId(&id), "ncclGetUniqueId", 0);
            _host.Send(buffer, peer);
        }
        else
        {
            _host.Receive(buffer, peer);
        }

        var what = $"messages {(isSender ? "to" : "from")} rank {Members[peer]} in {Name}";
        NcclEdge? edge = null;
        Keep(new NcclCommunicator(_library, id, 2, isSender ? 0 : 1, what), communicator => edges.Add(peer, edge = new NcclEdge(_device, communicator, Math.Max(2, Options.PendingMessagesPerEdge))));
        return edge ?? throw new InvalidOperationException("The edge was just made.");
    }

    /// <summary>Makes a communicator known to whoever aborts, or aborts it if that has happened already.</summary>
    private NcclCommunicator Keep(NcclCommunicator made, Action<NcclCommunicator> keep)
    {
        lock (_gate)
            keep(made);
        if (World.Reason is not null)
            made.Abort();
        ThrowIfAborted();
        return made;
    }

    private NcclCommunicator[] Communicators()
    {
        lock (_gate)
        {
            var edges = _outgoing.Values.Concat(_incoming.Values).Select(edge => edge.Communicator);
            return [.. _communicator is { } whole ? edges.Append(whole) : edges];
        }
    }

    private void Driver(int result, string function)
    {
        if (result != 0)
            throw new NcclException($"{function} failed in {Name}: {_device.Driver.Describe(result)}");
    }
}
