using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Platform.Torch.Collectives.Loopback;

/// <summary>A group whose members are threads of one process.</summary>
internal sealed unsafe class LoopbackGroup(
    GroupIdentity identity, CollectiveOptions options, WorldAbort abort, LoopbackExchange exchange)
    : CollectiveGroup(identity, options, abort)
{
    internal override void WakeAborted(string reason) => exchange.Wake();

    protected override void AllReduceCore(OperationSignature signature, CollectiveBuffer buffer, ReduceOperation operation)
    {
        Contribute(signature, buffer);
        Fold(signature, buffer, offsetBytes: 0, operation);
    }

    protected override void ReduceScatterCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
    {
        Contribute(signature, input);
        Fold(signature, output, Rank * output.LengthBytes, operation);
    }

    protected override void AllGatherCore(OperationSignature signature, CollectiveBuffer input, CollectiveBuffer output)
    {
        Contribute(signature, input);
        for (var rank = 0; rank < Size; rank++)
            CopyStage(signature, rank, output.Bytes + rank * input.LengthBytes, input.LengthBytes);
    }

    protected override void BroadcastCore(OperationSignature signature, CollectiveBuffer buffer, int root)
    {
        if (Rank == root)
        {
            Contribute(signature, buffer);
            return;
        }
        exchange.Meet(Identity, signature, Options.Timeout);
        CopyStage(signature, root, buffer.Bytes, buffer.LengthBytes);
    }

    protected override void BarrierCore(OperationSignature signature) => exchange.Meet(Identity, signature, Options.Timeout);

    protected override void SendCore(OperationSignature signature, CollectiveBuffer buffer, int peer) =>
        exchange.Send(Identity, signature, new ReadOnlySpan<byte>(buffer.Pointer, checked((int)buffer.LengthBytes)), peer, Options.Timeout);

    protected override void ReceiveCore(OperationSignature signature, CollectiveBuffer buffer, int peer) =>
        exchange.Receive(Identity, signature, peer, Options.Timeout).CopyTo(new Span<byte>(buffer.Pointer, checked((int)buffer.LengthBytes)));

    protected override IReadOnlyList<int> NotEntered(OperationSignature signature) => exchange.NotEntered(signature);

    protected override void DisposeCore() => exchange.Leave(Rank);

    private void Contribute(OperationSignature signature, CollectiveBuffer input)
    {
        var stage = exchange.Stage(signature, Rank, input.LengthBytes);
        new ReadOnlySpan<byte>(input.Pointer, (int)input.LengthBytes).CopyTo(stage);
        exchange.Meet(Identity, signature, Options.Timeout);
    }

    private void Fold(OperationSignature signature, CollectiveBuffer output, long offsetBytes, ReduceOperation operation)
    {
        // Stages are pinned arrays that the exchange keeps reachable, so their addresses hold.
        var sources = (Span<nint>)stackalloc nint[Size];
        for (var rank = 0; rank < Size; rank++)
            sources[rank] = (nint)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(exchange.StageOf(signature, rank))) + (nint)offsetBytes;
        Reduction.Fold(output.Element, operation, sources, output.Address, output.Count);
        GC.KeepAlive(exchange);
    }

    private void CopyStage(OperationSignature signature, int rank, byte* destination, long lengthBytes) =>
        exchange.StageOf(signature, rank).AsSpan(0, checked((int)lengthBytes)).CopyTo(new Span<byte>(destination, (int)lengthBytes));
}
