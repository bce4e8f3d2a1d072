namespace Platform.Torch.Collectives.Messages;

/// <summary>The receiving end of an edge: reads straight into the receiver's buffer.</summary>
internal sealed unsafe class IncomingEdge(GroupIdentity identity, int peer, IBytePipe pipe, WorldAbort abort, Func<OperationSignature, CollectiveException?> check) : IDisposable
{
    private const int SliceMilliseconds = 100;

    public void Receive(OperationSignature signature, Span<byte> payload, TimeSpan timeout)
    {
        var deadline = Deadline.After(timeout);
        OperationSignature header;
        Fill(signature, new Span<byte>(&header, OperationSignature.Size), deadline, timeout);
        if (header != signature)
            throw identity.Mismatch(signature, header, peer);
        Fill(signature, payload, deadline, timeout);
    }

    public void Dispose() => pipe.Dispose();

    private void Fill(OperationSignature signature, Span<byte> bytes, Deadline deadline, TimeSpan timeout)
    {
        try
        {
            for (var filled = 0; filled < bytes.Length;)
            {
                var count = pipe.TryRead(bytes[filled..]);
                filled += count;
                if (count > 0)
                    continue;
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
                if (deadline.Expired)
                    throw identity.NotSent(signature, peer, timeout);
                pipe.WaitReadable(deadline.Milliseconds(SliceMilliseconds));
            }
        }
        catch (PipeClosedException exception)
        {
            throw identity.Gone(signature, [identity.Members[peer]], exception.Message);
        }
    }
}
