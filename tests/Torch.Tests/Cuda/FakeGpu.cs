using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Platform.Torch.Cuda;

namespace Platform.Torch.Tests.Cuda;

/// <summary>
/// A CUDA driver made of threads: device memory is host memory, each stream is a thread that takes its work in order, and
/// the default stream is the calling thread itself. It is reached through the C interface, as the real one is.
/// </summary>
internal static unsafe class FakeGpu
{
    private const int OutOfMemory = 2;

    private static readonly ConcurrentDictionary<nint, FakeStream> Streams = new();
    private static readonly ConcurrentDictionary<nint, FakeEvent> Events = new();
    private static long _handles = 1000;

    public static CudaDriver Driver { get; } = new(Symbol);

    /// <summary>Largest allocation that succeeds.</summary>
    public const long MemoryBytes = 1 << 28;

    public static CudaDevice Open() => new(Driver, 0);

    /// <summary>Puts work on a stream.</summary>
    public static void Enqueue(nint stream, Action work)
    {
        if (stream == 0)
            work();
        else
            Streams[stream].Work.Add(work);
    }

    private sealed class FakeStream
    {
        public FakeStream()
        {
            var thread = new Thread(() =>
            {
                foreach (var work in Work.GetConsumingEnumerable())
                    work();
            })
            { IsBackground = true, Name = "stream" };
            thread.Start();
        }

        public BlockingCollection<Action> Work { get; } = [];
    }

    private sealed class FakeEvent
    {
        /// <summary>Ends when the work before the last recording is done.</summary>
        public volatile Task Recorded = Task.CompletedTask;
    }

    private static nint Symbol(string name) => name switch
    {
        "cuInit" => (nint)(delegate* unmanaged[Cdecl]<uint, int>)&Initialize,
        "cuDeviceGetCount" => (nint)(delegate* unmanaged[Cdecl]<int*, int>)&DeviceCount,
        "cuDeviceGet" => (nint)(delegate* unmanaged[Cdecl]<int*, int, int>)&DeviceGet,
        "cuDeviceGetName" => (nint)(delegate* unmanaged[Cdecl]<byte*, int, int, int>)&DeviceName,
        "cuDeviceTotalMem_v2" => (nint)(delegate* unmanaged[Cdecl]<nuint*, int, int>)&DeviceTotalMemory,
        "cuDeviceGetAttribute" => (nint)(delegate* unmanaged[Cdecl]<int*, int, int, int>)&DeviceAttribute,
        "cuDevicePrimaryCtxRetain" => (nint)(delegate* unmanaged[Cdecl]<nint*, int, int>)&ContextRetain,
        "cuDevicePrimaryCtxRelease_v2" => (nint)(delegate* unmanaged[Cdecl]<int, int>)&ContextRelease,
        "cuCtxSetCurrent" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&ContextSetCurrent,
        "cuMemGetInfo_v2" => (nint)(delegate* unmanaged[Cdecl]<nuint*, nuint*, int>)&MemoryInfo,
        "cuMemAlloc_v2" => (nint)(delegate* unmanaged[Cdecl]<nint*, nuint, int>)&MemoryAllocate,
        "cuMemFree_v2" or "cuMemFreeHost" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&MemoryFree,
        "cuMemHostAlloc" => (nint)(delegate* unmanaged[Cdecl]<nint*, nuint, uint, int>)&HostAllocate,
        "cuMemcpyDtoDAsync_v2" or "cuMemcpyHtoDAsync_v2" or "cuMemcpyDtoHAsync_v2" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, nint, int>)&Copy,
        "cuStreamCreate" => (nint)(delegate* unmanaged[Cdecl]<nint*, uint, int>)&StreamCreate,
        "cuStreamDestroy_v2" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&StreamDestroy,
        "cuStreamSynchronize" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&StreamSynchronize,
        "cuStreamWaitEvent" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, uint, int>)&StreamWaitEvent,
        "cuEventCreate" => (nint)(delegate* unmanaged[Cdecl]<nint*, uint, int>)&EventCreate,
        "cuEventDestroy_v2" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&EventDestroy,
        "cuEventRecord" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, int>)&EventRecord,
        "cuEventQuery" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&EventQuery,
        "cuGetErrorString" => (nint)(delegate* unmanaged[Cdecl]<int, byte**, int>)&ErrorString,
        _ => throw new EntryPointNotFoundException(name),
    };

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Initialize(uint flags) => 0;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int DeviceCount(int* count)
    {
        *count = 2;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int DeviceGet(int* device, int ordinal)
    {
        *device = ordinal + 70;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int DeviceName(byte* name, int length, int device)
    {
        var text = System.Text.Encoding.UTF8.GetBytes($"Fake {device}\0");
        text.CopyTo(new Span<byte>(name, length));
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int DeviceTotalMemory(nuint* bytes, int device)
    {
        *bytes = (nuint)MemoryBytes;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int DeviceAttribute(int* value, int attribute, int device)
    {
        *value = attribute == 75 ? 9 : 0;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int ContextRetain(nint* context, int device)
    {
        *context = 7;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int ContextRelease(int device) => 0;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int ContextSetCurrent(nint context) => context == 7 ? 0 : 201;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int MemoryInfo(nuint* free, nuint* total)
    {
        (*free, *total) = ((nuint)(MemoryBytes / 4), (nuint)MemoryBytes);
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int MemoryAllocate(nint* address, nuint bytes)
    {
        if ((long)bytes > MemoryBytes)
            return OutOfMemory;
        *address = (nint)NativeMemory.AllocZeroed(bytes);
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int HostAllocate(nint* address, nuint bytes, uint flags)
    {
        *address = (nint)NativeMemory.AllocZeroed(bytes);
        return flags == 1 ? 0 : 1;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int MemoryFree(nint address)
    {
        NativeMemory.Free((void*)address);
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Copy(nint destination, nint source, nuint bytes, nint stream)
    {
        Enqueue(stream, () => NativeMemory.Copy((void*)source, (void*)destination, bytes));
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int StreamCreate(nint* stream, uint flags)
    {
        var handle = (nint)Interlocked.Increment(ref _handles);
        Streams[handle] = new FakeStream();
        *stream = handle;
        return flags == 1 ? 0 : 1;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int StreamDestroy(nint stream)
    {
        if (Streams.TryRemove(stream, out var removed))
            removed.Work.CompleteAdding();
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int StreamSynchronize(nint stream)
    {
        using var reached = new ManualResetEventSlim();
        Enqueue(stream, reached.Set);
        reached.Wait();
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int StreamWaitEvent(nint stream, nint waited, uint flags)
    {
        var recorded = Events[waited].Recorded;
        Enqueue(stream, () => recorded.GetAwaiter().GetResult());
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int EventCreate(nint* made, uint flags)
    {
        var handle = (nint)Interlocked.Increment(ref _handles);
        Events[handle] = new FakeEvent();
        *made = handle;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int EventDestroy(nint destroyed) => Events.TryRemove(destroyed, out _) ? 0 : 400;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int EventRecord(nint recorded, nint stream)
    {
        var reached = new TaskCompletionSource();
        Events[recorded].Recorded = reached.Task;
        Enqueue(stream, reached.SetResult);
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int EventQuery(nint queried) =>
        Events.TryGetValue(queried, out var found) ? found.Recorded.IsCompleted ? 0 : CudaDriver.NotReady : 400;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int ErrorString(int error, byte** text)
    {
        *text = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference("out of memory\0"u8));
        return error == OutOfMemory ? 0 : 1;
    }
}
