using System.Buffers;

namespace Platform.Torch.Collectives.Messages;

/// <summary>
/// The sending end of an edge. A message goes straight into the pipe as far as it has room; the rest is copied away and a
/// thread of the edge's own writes it, so that a sender waits for the receiver only while as many are pending as may be.
/// </summary>
internal sealed unsafe class OutgoingEdge(
    GroupIdentity identity, int peer, IBytePipe pipe, WorldAbort abort, int pendingMessages, Func<OperationSignature, CollectiveException?> check)
    : IDisposable
{
    private const int SliceMilliseconds = 100;

    private readonly object gate = new();
    private readonly Queue<(byte[] Bytes, int Length)> pending = new();
    private Thread? pump;
    private string? broken;
    private bool closing;

    public void Send(OperationSignature signature, ReadOnlySpan<byte> payload, TimeSpan timeout)
    {
        var deadline = Deadline.After(timeout);
        var header = new ReadOnlySpan<byte>(&signature, OperationSignature.Size);
        lock (gate)
        {
            while (pending.Count >= pendingMessages && broken is null)
            {
                if (abort.Reason is { } reason)
                    throw identity.Aborted(reason);
                if (check(signature) is { } failure)
                    throw failure;
                if (deadline.Expired)
                    throw identity.NotReceived(signature, peer, timeout);
                Monitor.Wait(gate, deadline.Milliseconds(SliceMilliseconds));
            }
            ThrowIfBroken(signature);
            var written = 0;
            try
            {
                if (pending.Count == 0)
                    written = WriteNow(header, payload);
            }
            catch (PipeClosedException exception)
            {
                throw identity.Gone(signature, [identity.Members[peer]], exception.Message);
            }
            if (written < header.Length + payload.Length)
                Defer(header, payload, written);
        }
    }

    /// <summary>Lets pending messages go out, then stops; gives up after the timeout or when the world is aborted.</summary>
    public void Close(TimeSpan timeout)
    {
        Thread? writer;
        lock (gate)
        {
            var deadline = Deadline.After(timeout);
            while (pending.Count > 0 && broken is null && abort.Reason is null && !deadline.Expired && check(default) is null)
                Monitor.Wait(gate, deadline.Milliseconds(SliceMilliseconds));
            closing = true;
            Monitor.PulseAll(gate);
            writer = pump;
        }
        writer?.Join();
    }

    public void Dispose()
    {
        Close(TimeSpan.Zero);
        pipe.Dispose();
    }

    private int WriteNow(ReadOnlySpan<byte> header, ReadOnlySpan<byte> payload)
    {
        var written = WriteRoom(header);
        return written < header.Length ? written : written + WriteRoom(payload);
    }

    private int WriteRoom(ReadOnlySpan<byte> bytes)
    {
        var written = 0;
        while (written < bytes.Length && pipe.TryWrite(bytes[written..]) is var count and > 0)
            written += count;
        return written;
    }

    private void Defer(ReadOnlySpan<byte> header, ReadOnlySpan<byte> payload, int written)
    {
        var length = header.Length + payload.Length - written;
        var rest = ArrayPool<byte>.Shared.Rent(length);
        var headerLeft = header[Math.Min(written, header.Length)..];
        headerLeft.CopyTo(rest);
        payload[Math.Max(0, written - header.Length)..].CopyTo(rest.AsSpan(headerLeft.Length));
        pending.Enqueue((rest, length));
        if (pump is null)
        {
            pump = new Thread(Pump) { IsBackground = true, Name = $"messages to rank {identity.Members[peer]} of {identity.Name}" };
            pump.Start();
        }
        Monitor.PulseAll(gate);
    }

    private void Pump()
    {
        while (Next() is { } message)
        {
            try
            {
                for (var written = 0; written < message.Length;)
                {
                    if (Volatile.Read(ref closing) || abort.Reason is not null)
                        return;
                    var count = pipe.TryWrite(message.Bytes.AsSpan(written, message.Length - written));
                    written += count;
                    if (count == 0)
                        pipe.WaitWritable(SliceMilliseconds);
                }
            }
            catch (PipeClosedException exception)
            {
                lock (gate)
                {
                    broken = exception.Message;
                    Monitor.PulseAll(gate);
                    return;
                }
            }
            lock (gate)
            {
                pending.Dequeue();
                Monitor.PulseAll(gate);
            }
            ArrayPool<byte>.Shared.Return(message.Bytes);
        }
    }

    private (byte[] Bytes, int Length)? Next()
    {
        lock (gate)
        {
            while (pending.Count == 0 && !closing)
                Monitor.Wait(gate);
            return closing ? null : pending.Peek();
        }
    }

    private void ThrowIfBroken(OperationSignature signature)
    {
        if (broken is { } how)
            throw identity.Gone(signature, [identity.Members[peer]], how);
    }
}
