using System.Runtime.InteropServices;
using Platform.Torch.Collectives.Messages;

namespace Platform.Torch.Collectives.Tcp;

/// <summary>
/// A group that spans nodes. Pieces are exchanged directly between all pairs: each rank gathers everybody's share of its
/// part, folds it in rank order, and hands the result to all; one round carries the results of one piece and the shares of
/// the next.
/// </summary>
internal sealed unsafe class TcpGroup(GroupIdentity identity, CollectiveOptions options, WorldAbort abort, PeerConnections connections)
    : CollectiveGroup(identity, options, abort)
{
    private readonly TcpLinks links = new(identity, options, abort, connections);
    private readonly Dictionary<int, OutgoingEdge> outgoing = [];
    private readonly Dictionary<int, IncomingEdge> incoming = [];
    private byte* scratch;
    private long scratchBytes;

    internal override void WakeAborted(string reason) => links.Wake();

    protected override void AllReduceCore(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        EnterAll(signature);
        if (buffer.LengthBytes * Size <= Partition.WholeBytes)
            ReduceWhole(signature, buffer, operation);
        else
            ReduceInParts(signature, buffer, operation);
    }

    protected override void ReduceScatterCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
    {
        EnterAll(signature);
        var size = output.Element.SizeBytes();
        var perPiece = Options.TcpChunkBytes / size;
        var sources = (Span<nint>)stackalloc nint[Size];
        var done = 0L;
        do
        {
            var count = Math.Min(perPiece, output.Count - done);
            Reserve(count * size);
            foreach (var link in Peers(signature))
            {
                link.Send(input.Bytes + (link.Peer * output.Count + done) * size, count * size);
                link.Receive(Scratch(link.Peer, count * size), count * size);
            }
            links.Run(signature);
            FoldScratch(sources, (nint)(input.Bytes + (Rank * output.Count + done) * size), count * size);
            Reduction.Fold(output.Element, operation, sources, (nint)(output.Bytes + done * size), count);
            done += count;
        }
        while (done < output.Count);
    }

    protected override void AllGatherCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output)
    {
        EnterAll(signature);
        var bytes = input.LengthBytes;
        foreach (var link in Peers(signature))
        {
            link.Send(input.Bytes, bytes);
            link.Receive(output.Bytes + link.Peer * bytes, bytes);
        }
        Buffer.MemoryCopy(input.Bytes, output.Bytes + Rank * bytes, bytes, bytes);
        links.Run(signature);
    }

    protected override void BroadcastCore(OperationSignature signature, CollectiveBuffer buffer, int root)
    {
        links.Begin();
        if (Rank == root)
        {
            foreach (var link in Peers(signature))
            {
                link.Announce(signature);
                link.Send(buffer.Bytes, buffer.LengthBytes);
            }
        }
        else
        {
            var link = links.To(root, signature);
            link.Expect(signature);
            link.Receive(buffer.Bytes, buffer.LengthBytes);
        }
        links.Run(signature);
    }

    protected override void BarrierCore(OperationSignature signature)
    {
        EnterAll(signature);
        links.Run(signature);
    }

    protected override void SendCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        if (!outgoing.TryGetValue(peer, out var edge))
        {
            var pipe = new TcpPipe(connections.Connect(ConnectionPurpose.Message, Name, Members[peer]));
            outgoing.Add(peer, edge = new OutgoingEdge(Identity, peer, pipe, World, Options.PendingMessagesPerEdge, _ => null));
        }
        edge.Send(signature, new ReadOnlySpan<byte>(buffer.Pointer, checked((int)buffer.LengthBytes)), Options.Timeout);
    }

    protected override void ReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        if (!incoming.TryGetValue(peer, out var edge))
        {
            var socket = connections.Await(ConnectionPurpose.Message, Identity, peer, Deadline.After(Options.Timeout))
                ?? throw Identity.NotSent(signature, peer, Options.Timeout);
            incoming.Add(peer, edge = new IncomingEdge(Identity, peer, new TcpPipe(socket), World, _ => null));
        }
        edge.Receive(signature, new Span<byte>(buffer.Pointer, checked((int)buffer.LengthBytes)), Options.Timeout);
    }

    protected override void PostReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer)
    {
        // A peer that has not sent anything yet has no connection to read from.
        if (incoming.TryGetValue(peer, out var edge))
            edge.Post(signature, checked((int)buffer.LengthBytes));
    }

    protected override IReadOnlyList<int> NotEntered(OperationSignature signature) => links.NotEntered(signature);

    protected override void DisposeCore()
    {
        foreach (var edge in outgoing.Values)
        {
            edge.Close(Options.Timeout);
            edge.Dispose();
        }
        foreach (var edge in incoming.Values)
            edge.Dispose();
        links.Dispose();
        NativeMemory.Free(scratch);
        scratch = null;
    }

    private void ReduceWhole(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        Reserve(buffer.LengthBytes);
        foreach (var link in Peers(signature))
        {
            link.Send(buffer.Bytes, buffer.LengthBytes);
            link.Receive(Scratch(link.Peer, buffer.LengthBytes), buffer.LengthBytes);
        }
        links.Run(signature);
        var sources = (Span<nint>)stackalloc nint[Size];
        FoldScratch(sources, buffer.Address, buffer.LengthBytes);
        Reduction.Fold(buffer.Element, operation, sources, buffer.Address, buffer.Count);
    }

    private void ReduceInParts(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        var size = buffer.Element.SizeBytes();
        long perPiece = Options.TcpChunkBytes / size;
        var pieces = (Partition.Part(buffer.Count, 0, Size).Count + perPiece - 1) / perPiece;
        Reserve(perPiece * size);
        var sources = (Span<nint>)stackalloc nint[Size];
        for (var step = 0L; step <= pieces; step++)
        {
            foreach (var link in Peers(signature))
            {
                if (step >= 1)
                {
                    var mine = Piece(Rank, step - 1);
                    var theirs = Piece(link.Peer, step - 1);
                    link.Send(mine.Bytes, mine.LengthBytes);
                    link.Receive(theirs.Bytes, theirs.LengthBytes);
                }
                if (step < pieces)
                {
                    var theirs = Piece(link.Peer, step);
                    link.Send(theirs.Bytes, theirs.LengthBytes);
                    link.Receive(Scratch(link.Peer, perPiece * size), Piece(Rank, step).LengthBytes);
                }
            }
            links.Run(signature);
            if (step < pieces)
            {
                var own = Piece(Rank, step);
                FoldScratch(sources, own.Address, perPiece * size);
                Reduction.Fold(own.Element, operation, sources, own.Address, own.Count);
            }
        }

        CollectiveBuffer Piece(int rank, long step)
        {
            var (start, count) = Partition.Part(buffer.Count, rank, Size);
            var from = Math.Min(count, step * perPiece);
            return buffer.Slice(start + from, Math.Min(perPiece, count - from));
        }
    }

    private void EnterAll(OperationSignature signature)
    {
        links.Begin();
        foreach (var link in Peers(signature))
        {
            link.Announce(signature);
            link.Expect(signature);
        }
    }

    private IEnumerable<TcpLink> Peers(OperationSignature signature)
    {
        for (var next = 1; next < Size; next++)
            yield return links.To((Rank + next) % Size, signature);
    }

    private void FoldScratch(Span<nint> sources, nint own, long stride)
    {
        for (var rank = 0; rank < Size; rank++)
            sources[rank] = rank == Rank ? own : (nint)Scratch(rank, stride);
    }

    private byte* Scratch(int peer, long stride) => scratch + peer * stride;

    private void Reserve(long stride)
    {
        if (scratchBytes >= stride * Size)
            return;
        scratch = (byte*)NativeMemory.Realloc(scratch, (nuint)(stride * Size));
        scratchBytes = stride * Size;
    }
}
