using System.Runtime.Versioning;
using Platform.Torch.Collectives.Messages;

namespace Platform.Torch.Collectives.SharedMemory;

/// <summary>
/// A group of processes of one node. Buffers pass through staging slots in pieces; a meeting (a futex barrier) separates
/// filling a slot from reading it. With three slots per rank taken in turn, a slot is filled again only two meetings after
/// it was read, so one meeting per piece suffices.
/// </summary>
[SupportedOSPlatform("linux")]
internal sealed unsafe class SharedMemoryGroup : CollectiveGroup
{
    private readonly Lock mapped = new();
    private readonly SharedSegment segment;
    private readonly SharedMeeting meeting;
    private readonly Dictionary<int, OutgoingEdge> outgoing = [];
    private readonly Dictionary<int, IncomingEdge> incoming = [];
    private long piece;
    private bool unmapped;

    public SharedMemoryGroup(GroupIdentity identity, CollectiveOptions options, WorldAbort abort, string world)
        : base(identity, options, abort)
    {
        var slot = options.SharedMemoryBytesPerGroup / (identity.Size * SharedSegment.Slots) / 512 * 512;
        segment = new SharedSegment(options.SharedMemoryDirectory, world, identity, Math.Max(slot, identity.Size * 64), options.SharedMemoryBytesPerEdge);
        meeting = new SharedMeeting(identity, segment, abort, options.Timeout);
    }

    internal override void WakeAborted(string reason)
    {
        lock (mapped)
            if (!unmapped)
                segment.Abort(reason);
    }

    protected override void AllReduceCore(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        meeting.Enter(signature);
        if (buffer.LengthBytes <= segment.SlotBytes && buffer.LengthBytes * Size <= Partition.WholeBytes)
            ReduceWhole(signature, buffer, operation);
        else
            ReduceInParts(signature, buffer, operation);
    }

    protected override void ReduceScatterCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
    {
        meeting.Enter(signature);
        var size = output.Element.SizeBytes();
        var perPiece = segment.SlotBytes / size / Size;
        var sources = (Span<nint>)stackalloc nint[Size];
        var done = 0L;
        do
        {
            var count = Math.Min(perPiece, output.Count - done);
            var slot = NextSlot();
            for (var rank = 0; rank < Size; rank++)
                Copy(input.Bytes + (rank * output.Count + done) * size, segment.Slot(Rank, slot) + rank * count * size, count * size);
            meeting.Meet(signature);
            for (var rank = 0; rank < Size; rank++)
                sources[rank] = (nint)(segment.Slot(rank, slot) + Rank * count * size);
            Reduction.Fold(output.Element, operation, sources, (nint)(output.Bytes + done * size), count);
            done += count;
        }
        while (done < output.Count);
    }

    protected override void AllGatherCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output)
    {
        meeting.Enter(signature);
        var length = input.LengthBytes;
        var done = 0L;
        do
        {
            var bytes = Math.Min(segment.SlotBytes, length - done);
            var slot = NextSlot();
            Copy(input.Bytes + done, segment.Slot(Rank, slot), bytes);
            Copy(input.Bytes + done, output.Bytes + Rank * length + done, bytes);
            meeting.Meet(signature);
            for (var next = 1; next < Size; next++)
            {
                var rank = (Rank + next) % Size;
                Copy(segment.Slot(rank, slot), output.Bytes + rank * length + done, bytes);
            }
            done += bytes;
        }
        while (done < length);
    }

    protected override void BroadcastCore(OperationSignature signature, CollectiveBuffer buffer, int root)
    {
        meeting.Enter(signature);
        var done = 0L;
        do
        {
            var bytes = Math.Min(segment.SlotBytes, buffer.LengthBytes - done);
            var slot = NextSlot();
            if (Rank == root)
                Copy(buffer.Bytes + done, segment.Slot(Rank, slot), bytes);
            meeting.Meet(signature);
            if (Rank != root)
                Copy(segment.Slot(root, slot), buffer.Bytes + done, bytes);
            done += bytes;
        }
        while (done < buffer.LengthBytes);
    }

    protected override void BarrierCore(OperationSignature signature)
    {
        meeting.Enter(signature);
        meeting.Meet(signature);
    }

    protected override void SendCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        if (!outgoing.TryGetValue(peer, out var edge))
            outgoing.Add(peer, edge = new OutgoingEdge(Identity, peer, segment.Ring(Rank, peer), World, Options.PendingMessagesPerEdge, s => meeting.Failure(s, peer)));
        edge.Send(signature, new ReadOnlySpan<byte>(buffer.Pointer, checked((int)buffer.LengthBytes)), Options.Timeout);
    }

    protected override void ReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        Incoming(peer).Receive(signature, new Span<byte>(buffer.Pointer, checked((int)buffer.LengthBytes)), Options.Timeout);
    }

    protected override void PostReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer) =>
        Incoming(peer).Post(signature, checked((int)buffer.LengthBytes));

    protected override IReadOnlyList<int> NotEntered(OperationSignature signature)
    {
        lock (mapped)
            return unmapped ? [] : meeting.NotEntered(signature);
    }

    protected override void DisposeCore()
    {
        foreach (var edge in outgoing.Values)
        {
            edge.Close(Options.Timeout);
            edge.Dispose();
        }
        foreach (var edge in incoming.Values)
            edge.Dispose();
        lock (mapped)
        {
            unmapped = true;
            segment.Dispose();
        }
    }

    private IncomingEdge Incoming(int peer)
    {
        if (!incoming.TryGetValue(peer, out var edge))
            incoming.Add(peer, edge = new IncomingEdge(Identity, peer, segment.Ring(peer, Rank), World, s => meeting.Failure(s, peer)));
        return edge;
    }

    private void ReduceWhole(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        var slot = NextSlot();
        Copy(buffer.Bytes, segment.Slot(Rank, slot), buffer.LengthBytes);
        meeting.Meet(signature);
        var sources = (Span<nint>)stackalloc nint[Size];
        for (var rank = 0; rank < Size; rank++)
            sources[rank] = (nint)segment.Slot(rank, slot);
        Reduction.Fold(buffer.Element, operation, sources, buffer.Address, buffer.Count);
    }

    /// <summary>
    /// Three things happen between two meetings: piece k is staged, this rank's part of piece k − 1 is reduced in place in its
    /// slot, and the parts of piece k − 2 are copied out.
    /// </summary>
    private void ReduceInParts(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        var size = buffer.Element.SizeBytes();
        var perPiece = segment.SlotBytes / size;
        var pieces = (buffer.Count + perPiece - 1) / perPiece;
        var firstSlot = piece;
        piece += pieces;
        var sources = (Span<nint>)stackalloc nint[Size];
        for (var step = 0L; step < pieces + 2; step++)
        {
            if (step >= 2)
                CopyOut(step - 2);
            if (step >= 1 && step <= pieces)
                Reduce(step - 1, sources);
            if (step < pieces)
                Copy(buffer.Bytes + step * perPiece * size, segment.Slot(Rank, SlotOf(step)), Count(step) * size);
            if (step <= pieces)
                meeting.Meet(signature);
        }

        int SlotOf(long index) => (int)((firstSlot + index) % SharedSegment.Slots);

        long Count(long index) => Math.Min(perPiece, buffer.Count - index * perPiece);

        void Reduce(long index, Span<nint> sources)
        {
            var (start, count) = Partition.Part(Count(index), Rank, Size);
            for (var rank = 0; rank < Size; rank++)
                sources[rank] = (nint)(segment.Slot(rank, SlotOf(index)) + start * size);
            Reduction.Fold(buffer.Element, operation, sources, sources[Rank], count);
        }

        void CopyOut(long index)
        {
            for (var next = 0; next < Size; next++)
            {
                var rank = (Rank + next) % Size;
                var (start, count) = Partition.Part(Count(index), rank, Size);
                Copy(segment.Slot(rank, SlotOf(index)) + start * size, buffer.Bytes + (index * perPiece + start) * size, count * size);
            }
        }
    }

    private int NextSlot() => (int)(piece++ % SharedSegment.Slots);

    private static void Copy(byte* source, byte* destination, long bytes) =>
        Buffer.MemoryCopy(source, destination, bytes, bytes);
}
