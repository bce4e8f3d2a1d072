using System.Net.Sockets;
using Platform.Torch.Collectives.Messages;

namespace Platform.Torch.Collectives.Tcp;

/// <summary>One direction of a pair as a connection of its own, made by the sender.</summary>
internal sealed class TcpPipe(Socket socket) : IBytePipe
{
    private readonly nint descriptor = socket.Handle;

    /// <summary>What the smallest of the system's usual receive buffers holds.</summary>
    public int HeldBytes => 64 << 10;

    public int TryWrite(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
            return 0;
        var sent = socket.Send(bytes, SocketFlags.None, out var error);
        return error switch
        {
            SocketError.Success => sent,
            SocketError.WouldBlock => 0,
            _ => throw new PipeClosedException($"lost its connection ({error})"),
        };
    }

    public int TryRead(Span<byte> bytes)
    {
        if (bytes.IsEmpty)
            return 0;
        var received = socket.Receive(bytes, SocketFlags.None, out var error);
        return error switch
        {
            SocketError.Success when received > 0 => received,
            SocketError.WouldBlock => 0,
            SocketError.Success => throw new PipeClosedException("closed its connection"),
            _ => throw new PipeClosedException($"lost its connection ({error})"),
        };
    }

    public void WaitWritable(int milliseconds) => LinuxCalls.Poll(descriptor, LinuxCalls.PollOut, milliseconds);

    public void WaitReadable(int milliseconds) => LinuxCalls.Poll(descriptor, LinuxCalls.PollIn, milliseconds);

    public void Dispose() => socket.Dispose();
}
