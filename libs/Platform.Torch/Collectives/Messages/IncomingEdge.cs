namespace Platform.Torch.Collectives.Messages;

/// <summary>
/// The receiving end of an edge: reads straight into the receiver's buffer. A message that the receiver has posted is read into
/// memory of the edge's own by a thread of its own, as far as the sender is, so that what does not fit into the pipe moves while
/// the receiver does something else.
/// </summary>
internal sealed unsafe class IncomingEdge(
    GroupIdentity identity, int peer, IBytePipe pipe, WorldAbort abort, Func<OperationSignature, CollectiveException?> check) : IDisposable
{
    private const int SliceMilliseconds = 100;

    private readonly object gate = new();
    private byte[] early = [];
    private Posted? posted;
    private Thread? reader;
    private bool closing;

    /// <summary>Begins to read the next message, if it is larger than what the pipe holds by itself; never waits.</summary>
    public void Post(OperationSignature signature, int length)
    {
        if (length <= pipe.HeldBytes)
            return;
        lock (gate)
        {
            if (posted is not null)
                throw new InvalidOperationException($"A receive from rank {identity.Members[peer]} of {identity.Name} has begun already.");
            if (early.Length < length)
                early = GC.AllocateUninitializedArray<byte>(length);
            posted = new Posted(signature, length);
            if (reader is null)
            {
                reader = new Thread(ReadAhead) { IsBackground = true, Name = $"messages from rank {identity.Members[peer]} of {identity.Name}" };
                reader.Start();
            }
            Monitor.PulseAll(gate);
        }
    }

    public void Receive(OperationSignature signature, Span<byte> payload, TimeSpan timeout)
    {
        var deadline = Deadline.After(timeout);
        if (posted is { } begun)
        {
            Await(begun, signature, deadline, timeout);
            early.AsSpan(0, payload.Length).CopyTo(payload);
            return;
        }
        Read(signature, payload, deadline, timeout);
    }

    public void Dispose()
    {
        lock (gate)
        {
            closing = true;
            Monitor.PulseAll(gate);
        }
        reader?.Join();
        pipe.Dispose();
    }

    /// <summary>Waits for what the thread reads; the deadline is the receiver's alone, since nobody waits before it.</summary>
    private void Await(Posted begun, OperationSignature signature, Deadline deadline, TimeSpan timeout)
    {
        if (begun.Signature != signature)
            throw identity.Mismatch(signature, begun.Signature, peer);
        lock (gate)
        {
            while (!begun.IsRead && begun.Failure is null)
            {
                if (deadline.Expired)
                    throw identity.NotSent(signature, peer, timeout);
                Monitor.Wait(gate, deadline.Milliseconds(SliceMilliseconds));
            }
            posted = null;
            if (begun.Failure is { } failure)
                throw failure;
        }
    }

    private void ReadAhead()
    {
        while (Next() is { } begun)
        {
            CollectiveException? failure = null;
            try
            {
                if (!Read(begun.Signature, early.AsSpan(0, begun.Length), null, default))
                    return;
            }
            catch (CollectiveException exception)
            {
                failure = exception;
            }
            lock (gate)
            {
                (begun.IsRead, begun.Failure) = (failure is null, failure);
                Monitor.PulseAll(gate);
            }
        }
    }

    private Posted? Next()
    {
        lock (gate)
        {
            while (!closing && (posted is null || posted.IsRead || posted.Failure is not null))
                Monitor.Wait(gate);
            return closing ? null : posted;
        }
    }

    private bool Read(OperationSignature signature, Span<byte> payload, Deadline? deadline, TimeSpan timeout)
    {
        OperationSignature header;
        if (!Fill(signature, new Span<byte>(&header, OperationSignature.Size), deadline, timeout))
            return false;
        if (header != signature)
            throw identity.Mismatch(signature, header, peer);
        return Fill(signature, payload, deadline, timeout);
    }

    /// <summary>Reads so many bytes; false when the edge closes first.</summary>
    private bool Fill(OperationSignature signature, Span<byte> bytes, Deadline? deadline, TimeSpan timeout)
    {
        try
        {
            for (var filled = 0; filled < bytes.Length;)
            {
                var count = pipe.TryRead(bytes[filled..]);
                filled += count;
                if (count > 0)
                    continue;
                if (Volatile.Read(ref closing))
                    return false;
                if (abort.Reason is { } reason)
                    throw identity.Aborted(reason);
                if (check(signature) is { } failure)
                {
                    // The peer may have written its last bytes and left since they were looked for.
                    filled += count = pipe.TryRead(bytes[filled..]);
                    if (count == 0)
                        throw failure;
                    continue;
                }
                if (deadline?.Expired == true)
                    throw identity.NotSent(signature, peer, timeout);
                pipe.WaitReadable(deadline?.Milliseconds(SliceMilliseconds) ?? SliceMilliseconds);
            }
            return true;
        }
        catch (PipeClosedException exception)
        {
            throw identity.Gone(signature, [identity.Members[peer]], exception.Message);
        }
    }

    /// <summary>A message that is read before its receiver asks for it.</summary>
    private sealed class Posted(OperationSignature signature, int length)
    {
        public OperationSignature Signature => signature;

        public int Length => length;

        public bool IsRead { get; set; }

        public CollectiveException? Failure { get; set; }
    }
}
