using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Nccl;

namespace Platform.Torch.Tests.Cuda;

/// <summary>
/// NCCL among threads of this process: an operation runs on its stream once every rank of the communicator has put it on
/// theirs, and reductions fold in rank order. It is reached through the C interface, as the real one is.
/// </summary>
internal static unsafe class FakeNccl
{
    private const int InternalError = 3;
    private const int InvalidArgument = 4;

    private static readonly ConcurrentDictionary<string, Clique> Cliques = new();
    private static readonly ConcurrentDictionary<nint, Communicator> Communicators = new();
    private static long _handles = 5000;
    private static int _ids;

    public static NcclLibrary Library { get; } = new(Symbol);

    private sealed class Clique(int size)
    {
        public int Size { get; } = size;

        public Barrier Joined { get; } = new(size);

        public Dictionary<long, (nint Input, nint Output, string What)?[]> Meetings { get; } = [];

        public string? Broken { get; set; }
    }

    private sealed class Communicator(Clique clique, int rank)
    {
        public Clique Clique { get; } = clique;

        public int Rank { get; } = rank;

        public long Count { get; set; }

        public volatile bool Aborted;
    }

    private static nint Symbol(string name) => name switch
    {
        "ncclGetVersion" => (nint)(delegate* unmanaged[Cdecl]<int*, int>)&GetVersion,
        "ncclGetUniqueId" => (nint)(delegate* unmanaged[Cdecl]<NcclUniqueId*, int>)&GetUniqueId,
        "ncclCommInitRank" => (nint)(delegate* unmanaged[Cdecl]<nint*, int, NcclUniqueId, int, int>)&InitializeRank,
        "ncclCommDestroy" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&Destroy,
        "ncclCommAbort" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&Abort,
        "ncclCommGetAsyncError" => (nint)(delegate* unmanaged[Cdecl]<nint, int*, int>)&GetAsyncError,
        "ncclAllReduce" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)&AllReduce,
        "ncclReduceScatter" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)&ReduceScatter,
        "ncclAllGather" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, nint, nint, int>)&AllGather,
        "ncclBroadcast" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)&Broadcast,
        "ncclSend" => (nint)(delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)&Send,
        "ncclRecv" => (nint)(delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)&Receive,
        "ncclGetErrorString" => (nint)(delegate* unmanaged[Cdecl]<int, byte*>)&ErrorString,
        "ncclGetLastError" => (nint)(delegate* unmanaged[Cdecl]<nint, byte*>)&LastError,
        _ => throw new EntryPointNotFoundException(name),
    };

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetVersion(int* version)
    {
        *version = 22703;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetUniqueId(NcclUniqueId* id)
    {
        var bytes = new Span<byte>(id, NcclUniqueId.Size);
        new Random(Interlocked.Increment(ref _ids)).NextBytes(bytes);
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int InitializeRank(nint* communicator, int ranks, NcclUniqueId id, int rank)
    {
        if (rank < 0 || rank >= ranks)
            return InvalidArgument;
        var clique = Cliques.GetOrAdd(Convert.ToHexString(new ReadOnlySpan<byte>(id.Bytes, NcclUniqueId.Size)), _ => new Clique(ranks));
        if (clique.Size != ranks || !clique.Joined.SignalAndWait(TimeSpan.FromSeconds(30)))
            return InternalError;
        var handle = (nint)Interlocked.Increment(ref _handles);
        Communicators[handle] = new Communicator(clique, rank);
        *communicator = handle;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Destroy(nint communicator) => Communicators.TryRemove(communicator, out _) ? 0 : InvalidArgument;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Abort(nint communicator)
    {
        if (!Communicators.TryRemove(communicator, out var removed))
            return InvalidArgument;
        removed.Aborted = true;
        lock (removed.Clique)
            Monitor.PulseAll(removed.Clique);
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetAsyncError(nint communicator, int* status)
    {
        var found = Communicators[communicator];
        lock (found.Clique)
            *status = found.Clique.Broken is null ? 0 : InternalError;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int AllReduce(nint input, nint output, nuint count, int type, int operation, nint communicator, nint stream) =>
        Enqueue(communicator, stream, input, output, $"all-reduce {count} {type} {operation}", buffers =>
        {
            var reduced = Fold(buffers, (long)count, type, operation);
            foreach (var (_, target) in buffers)
                reduced.CopyTo(Bytes(target, reduced.Length));
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int ReduceScatter(nint input, nint output, nuint count, int type, int operation, nint communicator, nint stream) =>
        Enqueue(communicator, stream, input, output, $"reduce-scatter {count} {type} {operation}", buffers =>
        {
            var reduced = Fold(buffers, (long)count * buffers.Length, type, operation);
            var part = reduced.Length / buffers.Length;
            for (var rank = 0; rank < buffers.Length; rank++)
                reduced.AsSpan(rank * part, part).CopyTo(Bytes(buffers[rank].Output, part));
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int AllGather(nint input, nint output, nuint count, int type, nint communicator, nint stream) =>
        Enqueue(communicator, stream, input, output, $"all-gather {count} {type}", buffers =>
        {
            var part = (int)count * SizeOf(type);
            var whole = buffers.SelectMany(buffer => Bytes(buffer.Input, part).ToArray()).ToArray();
            foreach (var (_, target) in buffers)
                whole.CopyTo(Bytes(target, whole.Length));
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Broadcast(nint input, nint output, nuint count, int type, int root, nint communicator, nint stream) =>
        Enqueue(communicator, stream, input, output, $"broadcast {count} {type} {root}", buffers =>
        {
            var content = Bytes(buffers[root].Input, (int)count * SizeOf(type)).ToArray();
            foreach (var (_, target) in buffers)
                content.CopyTo(Bytes(target, content.Length));
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Send(nint buffer, nuint count, int type, int peer, nint communicator, nint stream) =>
        peer == 1 ? Message(communicator, stream, buffer, count, type) : InvalidArgument;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Receive(nint buffer, nuint count, int type, int peer, nint communicator, nint stream) =>
        peer == 0 ? Message(communicator, stream, buffer, count, type) : InvalidArgument;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static byte* ErrorString(int error) => (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(
        error == InternalError ? "internal error\0"u8 : "invalid argument\0"u8));

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static byte* LastError(nint communicator) =>
        (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference("net.cc:1 the fabric said no\0"u8));

    private static int Message(nint communicator, nint stream, nint buffer, nuint count, int type) =>
        Enqueue(communicator, stream, buffer, buffer, $"message {count} {type}", buffers =>
        {
            var bytes = (int)count * SizeOf(type);
            Bytes(buffers[0].Input, bytes).CopyTo(Bytes(buffers[1].Output, bytes));
        });

    private static int Enqueue(nint handle, nint stream, nint input, nint output, string what, Action<(nint Input, nint Output)[]> finish)
    {
        if (!Communicators.TryGetValue(handle, out var communicator))
            return InvalidArgument;
        var number = communicator.Count++;
        FakeGpu.Enqueue(stream, () => Meet(communicator, number, (input, output, what), finish));
        return 0;
    }

    private static void Meet(
        Communicator communicator, long number, (nint Input, nint Output, string What) mine, Action<(nint Input, nint Output)[]> finish)
    {
        var clique = communicator.Clique;
        lock (clique)
        {
            if (!clique.Meetings.TryGetValue(number, out var present))
                clique.Meetings.Add(number, present = new (nint, nint, string)?[clique.Size]);
            present[communicator.Rank] = mine;
            var all = present.OfType<(nint Input, nint Output, string What)>().ToArray();
            if (all.Length == clique.Size)
            {
                if (all.Any(one => one.What != mine.What))
                    clique.Broken = $"{string.Join(", ", all.Select(one => one.What))}";
                else
                    finish([.. all.Select(one => (one.Input, one.Output))]);
                if (clique.Broken is null)
                    clique.Meetings.Remove(number);
                Monitor.PulseAll(clique);
                if (clique.Broken is null)
                    return;
            }

            // A kernel that cannot go on waits until its communicator is aborted, as NCCL's do.
            while (!communicator.Aborted && (clique.Broken is not null || clique.Meetings.ContainsKey(number)))
                Monitor.Wait(clique);
        }
    }

    private static byte[] Fold((nint Input, nint Output)[] buffers, long count, int type, int operation)
    {
        var element = Enum.GetValues<CollectiveElement>().Single(one => NcclLibrary.TypeOf(one) == type);
        var reduction = Enum.GetValues<ReduceOperation>().Single(one => NcclLibrary.OperationOf(one) == operation);
        return Collectives.Reference.Reduce([.. buffers.Select(buffer => Bytes(buffer.Input, (int)count * element.SizeBytes()).ToArray())], element, reduction);
    }

    private static int SizeOf(int type) => Enum.GetValues<CollectiveElement>().Single(one => NcclLibrary.TypeOf(one) == type).SizeBytes();

    private static Span<byte> Bytes(nint address, int count) => new((void*)address, count);
}
