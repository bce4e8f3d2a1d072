using System.Net.Sockets;
using System.Runtime.InteropServices;
using Platform.Torch.Collectives.Messages;

namespace Platform.Torch.Collectives.Tcp;

/// <summary>
/// A pair's connection for collectives: what is still to go out and to come in, in order. Never blocks, so both directions
/// of all links advance together and an exchange cannot deadlock.
/// </summary>
internal sealed unsafe class TcpLink : IDisposable
{
    private const int BytesPerCall = 1 << 20;

    private readonly Socket socket;
    private readonly OperationSignature* headers;
    private readonly Queue<Segment> outgoing = new();
    private readonly Queue<Segment> incoming = new();
    private OperationSignature expected;
    private bool headerDue;
    private long entered;

    public TcpLink(Socket socket, int peer)
    {
        this.socket = socket;
        Peer = peer;
        Descriptor = (int)socket.Handle;
        headers = (OperationSignature*)NativeMemory.AllocZeroed(2 * OperationSignature.Size);
    }

    /// <summary>Rank in the group.</summary>
    public int Peer { get; }

    public int Descriptor { get; }

    /// <summary>Number of the last collective that the peer has announced here.</summary>
    public long Entered => Volatile.Read(ref entered);

    public bool HeaderDue => headerDue;

    public bool WantsToSend => outgoing.Count > 0;

    public bool WantsToReceive => incoming.Count > 0;

    public void Announce(OperationSignature signature)
    {
        headers[0] = signature;
        Send((byte*)headers, OperationSignature.Size);
    }

    public void Expect(OperationSignature signature)
    {
        expected = signature;
        headerDue = true;
        Receive((byte*)(headers + 1), OperationSignature.Size);
    }

    public void Send(byte* source, long bytes)
    {
        if (bytes > 0)
            outgoing.Enqueue(new Segment(source, bytes));
    }

    public void Receive(byte* destination, long bytes)
    {
        if (bytes > 0)
            incoming.Enqueue(new Segment(destination, bytes));
    }

    /// <summary>Moves what can be moved now; says whether anything was.</summary>
    /// <exception cref="PipeClosedException">The peer closed the connection or it broke.</exception>
    public bool Advance(GroupIdentity identity)
    {
        var moved = false;
        while (outgoing.TryPeek(out var segment))
        {
            var sent = socket.Send(new ReadOnlySpan<byte>(segment.At, (int)Math.Min(segment.Bytes, BytesPerCall)), SocketFlags.None, out var error);
            if (!Moved(sent, error))
                break;
            moved = true;
            Replace(outgoing, segment, sent);
        }
        while (incoming.TryPeek(out var segment))
        {
            var received = socket.Receive(new Span<byte>(segment.At, (int)Math.Min(segment.Bytes, BytesPerCall)), SocketFlags.None, out var error);
            if (!Moved(received, error))
                break;
            moved = true;
            if (Replace(incoming, segment, received) && headerDue)
                Compare(identity);
        }
        return moved;
    }

    /// <summary>Ends every wait for the peer at this end, without the peer noticing.</summary>
    public void Wake()
    {
        try
        {
            socket.Shutdown(SocketShutdown.Receive);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Closed already; nobody waits for it.
        }
    }

    public void Dispose()
    {
        socket.Dispose();
        NativeMemory.Free(headers);
    }

    private void Compare(GroupIdentity identity)
    {
        headerDue = false;
        if (headers[1] != expected)
            throw identity.Mismatch(expected, headers[1], Peer);
        Volatile.Write(ref entered, expected.Sequence);
    }

    private static bool Moved(int bytes, SocketError error) => error switch
    {
        SocketError.Success when bytes > 0 => true,
        SocketError.WouldBlock => false,
        SocketError.Success => throw new PipeClosedException("closed its connection"),
        _ => throw new PipeClosedException($"lost its connection ({error})"),
    };

    /// <summary>Shortens the first segment by what was moved; says whether it is done.</summary>
    private static bool Replace(Queue<Segment> queue, Segment first, int moved)
    {
        queue.Dequeue();
        if (moved == first.Bytes)
            return true;
        var rest = new Segment(first.At + moved, first.Bytes - moved);
        // The rest goes back to the front: rotate the few that follow behind it.
        queue.Enqueue(rest);
        for (var others = queue.Count - 1; others > 0; others--)
            queue.Enqueue(queue.Dequeue());
        return false;
    }

    private readonly struct Segment(byte* at, long bytes)
    {
        public byte* At { get; } = at;

        public long Bytes { get; } = bytes;
    }
}
