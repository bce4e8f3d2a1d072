namespace Platform.Torch.Collectives;

/// <summary>Settings of a world's collectives.</summary>
public sealed record CollectiveOptions
{
    /// <summary>How long an operation may wait for its peers.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Where groups of one node put their shared file; memory-backed, or every operation writes to a disk.</summary>
    public string SharedMemoryDirectory { get; init; } = "/dev/shm";

    /// <summary>
    /// Staging memory that one group shares among its members. Larger buffers pass in pieces. With the default, the
    /// thirteen groups and four pipeline edges of eight ranks on one node stay within the 64 MiB that containers get.
    /// </summary>
    public int SharedMemoryBytesPerGroup { get; init; } = 2 << 20;

    /// <summary>Ring for messages, per direction of a pair that sends any; longer messages pass in pieces.</summary>
    public int SharedMemoryBytesPerEdge { get; init; } = 1 << 20;

    /// <summary>Largest piece of a buffer that goes to one peer at a time over TCP.</summary>
    public int TcpChunkBytes { get; init; } = 1 << 20;

    /// <summary>
    /// Messages per direction of a pair that a sender may have waiting beyond what the way itself holds. A send that finds so
    /// many waits until the peer receives one; a pipeline sets it to what its schedule ever has under way, so that none does.
    /// </summary>
    public int PendingMessagesPerEdge { get; init; } = 2;

    /// <summary>How long connecting to a peer and proving the token may take.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Checks every setting.</summary>
    /// <exception cref="ArgumentException">One or more settings are out of range; the message names them all.</exception>
    public void Validate()
    {
        var errors = new List<string>();
        if (Timeout <= TimeSpan.Zero)
            errors.Add($"{nameof(Timeout)} must be positive, not {Timeout}");
        if (ConnectTimeout <= TimeSpan.Zero)
            errors.Add($"{nameof(ConnectTimeout)} must be positive, not {ConnectTimeout}");
        if (string.IsNullOrWhiteSpace(SharedMemoryDirectory))
            errors.Add($"{nameof(SharedMemoryDirectory)} must name a directory");
        RequirePieces(nameof(SharedMemoryBytesPerGroup), SharedMemoryBytesPerGroup);
        RequirePieces(nameof(SharedMemoryBytesPerEdge), SharedMemoryBytesPerEdge);
        RequirePieces(nameof(TcpChunkBytes), TcpChunkBytes);
        if (PendingMessagesPerEdge < 1)
            errors.Add($"{nameof(PendingMessagesPerEdge)} must be at least 1, not {PendingMessagesPerEdge}");
        if (errors.Count > 0)
            throw new ArgumentException(string.Join("; ", errors));

        void RequirePieces(string name, int bytes)
        {
            if (bytes is < 4096 or > 1 << 30)
                errors.Add($"{name} must be 4 KiB to 1 GiB, not {bytes} bytes");
        }
    }
}
