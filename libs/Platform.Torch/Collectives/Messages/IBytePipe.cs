namespace Platform.Torch.Collectives.Messages;

/// <summary>
/// One direction of a pair of ranks as a stream of bytes. Each end has one user at a time. Waits may end early; an end that
/// is closed or broken throws <see cref="PipeClosedException"/>.
/// </summary>
internal interface IBytePipe : IDisposable
{
    /// <summary>Takes as many bytes as there is room for now, perhaps none.</summary>
    int TryWrite(ReadOnlySpan<byte> bytes);

    /// <summary>Gives as many bytes as have come, perhaps none.</summary>
    int TryRead(Span<byte> bytes);

    /// <summary>Bytes that the pipe surely holds while nobody reads.</summary>
    int HeldBytes { get; }

    void WaitWritable(int milliseconds);

    void WaitReadable(int milliseconds);
}

/// <summary>The other end of a pipe is gone; never seen outside of this folder.</summary>
internal sealed class PipeClosedException(string how) : IOException(how);
