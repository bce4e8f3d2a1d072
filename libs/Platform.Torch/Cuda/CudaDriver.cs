using System.Runtime.InteropServices;
using System.Text;

namespace Platform.Torch.Cuda;

/// <summary>
/// The functions of the CUDA driver (<c>libcuda.so.1</c>, declared in <c>cuda.h</c>) that streams, events, pinned memory and
/// device facts need. The driver's interface rather than the runtime's: its file has one name on every machine with a GPU,
/// and its streams and events are those of the runtime that libtorch uses.
/// </summary>
/// <remarks>Each function returns 0 on success. The table can be filled from any library that exports these names.</remarks>
internal sealed unsafe class CudaDriver
{
    /// <summary>What <see cref="EventQuery"/> answers while work before the event is unfinished.</summary>
    public const int NotReady = 600;

    /// <summary>File that the driver installs.</summary>
    public const string LibraryName = "libcuda.so.1";

    private static readonly Lazy<CudaDriver> Installed = new(Load);

    private readonly delegate* unmanaged[Cdecl]<int, byte**, int> _errorString;

    /// <summary>A table filled from a function that gives the address of each name.</summary>
    /// <param name="symbol">Address of an exported function.</param>
    public CudaDriver(Func<string, nint> symbol)
    {
        Initialize = (delegate* unmanaged[Cdecl]<uint, int>)symbol("cuInit");
        DeviceCount = (delegate* unmanaged[Cdecl]<int*, int>)symbol("cuDeviceGetCount");
        DeviceGet = (delegate* unmanaged[Cdecl]<int*, int, int>)symbol("cuDeviceGet");
        DeviceName = (delegate* unmanaged[Cdecl]<byte*, int, int, int>)symbol("cuDeviceGetName");
        DeviceTotalMemory = (delegate* unmanaged[Cdecl]<nuint*, int, int>)symbol("cuDeviceTotalMem_v2");
        DeviceAttribute = (delegate* unmanaged[Cdecl]<int*, int, int, int>)symbol("cuDeviceGetAttribute");
        PrimaryContextRetain = (delegate* unmanaged[Cdecl]<nint*, int, int>)symbol("cuDevicePrimaryCtxRetain");
        PrimaryContextRelease = (delegate* unmanaged[Cdecl]<int, int>)symbol("cuDevicePrimaryCtxRelease_v2");
        ContextSetCurrent = (delegate* unmanaged[Cdecl]<nint, int>)symbol("cuCtxSetCurrent");
        MemoryInfo = (delegate* unmanaged[Cdecl]<nuint*, nuint*, int>)symbol("cuMemGetInfo_v2");
        MemoryAllocate = (delegate* unmanaged[Cdecl]<nint*, nuint, int>)symbol("cuMemAlloc_v2");
        MemoryFree = (delegate* unmanaged[Cdecl]<nint, int>)symbol("cuMemFree_v2");
        HostAllocate = (delegate* unmanaged[Cdecl]<nint*, nuint, uint, int>)symbol("cuMemHostAlloc");
        HostFree = (delegate* unmanaged[Cdecl]<nint, int>)symbol("cuMemFreeHost");
        CopyDeviceToDevice = (delegate* unmanaged[Cdecl]<nint, nint, nuint, nint, int>)symbol("cuMemcpyDtoDAsync_v2");
        CopyHostToDevice = (delegate* unmanaged[Cdecl]<nint, nint, nuint, nint, int>)symbol("cuMemcpyHtoDAsync_v2");
        CopyDeviceToHost = (delegate* unmanaged[Cdecl]<nint, nint, nuint, nint, int>)symbol("cuMemcpyDtoHAsync_v2");
        StreamCreate = (delegate* unmanaged[Cdecl]<nint*, uint, int>)symbol("cuStreamCreate");
        StreamDestroy = (delegate* unmanaged[Cdecl]<nint, int>)symbol("cuStreamDestroy_v2");
        StreamSynchronize = (delegate* unmanaged[Cdecl]<nint, int>)symbol("cuStreamSynchronize");
        StreamWaitEvent = (delegate* unmanaged[Cdecl]<nint, nint, uint, int>)symbol("cuStreamWaitEvent");
        EventCreate = (delegate* unmanaged[Cdecl]<nint*, uint, int>)symbol("cuEventCreate");
        EventDestroy = (delegate* unmanaged[Cdecl]<nint, int>)symbol("cuEventDestroy_v2");
        EventRecord = (delegate* unmanaged[Cdecl]<nint, nint, int>)symbol("cuEventRecord");
        EventQuery = (delegate* unmanaged[Cdecl]<nint, int>)symbol("cuEventQuery");
        _errorString = (delegate* unmanaged[Cdecl]<int, byte**, int>)symbol("cuGetErrorString");
    }

    /// <summary>The driver of this machine.</summary>
    /// <exception cref="CudaException">There is none, or it is older than the functions used here.</exception>
    public static CudaDriver OfMachine => Installed.Value;

    // (flags)
    public delegate* unmanaged[Cdecl]<uint, int> Initialize { get; }

    // (count)
    public delegate* unmanaged[Cdecl]<int*, int> DeviceCount { get; }

    // (device, ordinal)
    public delegate* unmanaged[Cdecl]<int*, int, int> DeviceGet { get; }

    // (name, length, device)
    public delegate* unmanaged[Cdecl]<byte*, int, int, int> DeviceName { get; }

    // (bytes, device)
    public delegate* unmanaged[Cdecl]<nuint*, int, int> DeviceTotalMemory { get; }

    // (value, attribute, device)
    public delegate* unmanaged[Cdecl]<int*, int, int, int> DeviceAttribute { get; }

    // (context, device)
    public delegate* unmanaged[Cdecl]<nint*, int, int> PrimaryContextRetain { get; }

    // (device)
    public delegate* unmanaged[Cdecl]<int, int> PrimaryContextRelease { get; }

    // (context): of the calling thread
    public delegate* unmanaged[Cdecl]<nint, int> ContextSetCurrent { get; }

    // (free, total): bytes of the current context's device
    public delegate* unmanaged[Cdecl]<nuint*, nuint*, int> MemoryInfo { get; }

    // (address, bytes)
    public delegate* unmanaged[Cdecl]<nint*, nuint, int> MemoryAllocate { get; }

    // (address)
    public delegate* unmanaged[Cdecl]<nint, int> MemoryFree { get; }

    // (address, bytes, flags)
    public delegate* unmanaged[Cdecl]<nint*, nuint, uint, int> HostAllocate { get; }

    // (address)
    public delegate* unmanaged[Cdecl]<nint, int> HostFree { get; }

    // (destination, source, bytes, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, nuint, nint, int> CopyDeviceToDevice { get; }

    // (destination, source, bytes, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, nuint, nint, int> CopyHostToDevice { get; }

    // (destination, source, bytes, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, nuint, nint, int> CopyDeviceToHost { get; }

    // (stream, flags)
    public delegate* unmanaged[Cdecl]<nint*, uint, int> StreamCreate { get; }

    // (stream)
    public delegate* unmanaged[Cdecl]<nint, int> StreamDestroy { get; }

    // (stream)
    public delegate* unmanaged[Cdecl]<nint, int> StreamSynchronize { get; }

    // (stream, event, flags)
    public delegate* unmanaged[Cdecl]<nint, nint, uint, int> StreamWaitEvent { get; }

    // (event, flags)
    public delegate* unmanaged[Cdecl]<nint*, uint, int> EventCreate { get; }

    // (event)
    public delegate* unmanaged[Cdecl]<nint, int> EventDestroy { get; }

    // (event, stream)
    public delegate* unmanaged[Cdecl]<nint, nint, int> EventRecord { get; }

    // (event)
    public delegate* unmanaged[Cdecl]<nint, int> EventQuery { get; }

    /// <summary>Throws unless a call succeeded.</summary>
    /// <param name="result">What the function returned.</param>
    /// <param name="function">Its name.</param>
    /// <exception cref="CudaException">It did not.</exception>
    public void Check(int result, string function)
    {
        if (result != 0)
            throw new CudaException($"{function} failed with CUDA error {result}: {Describe(result)}");
    }

    /// <summary>The driver's sentence for an error.</summary>
    public string Describe(int result)
    {
        byte* text;
        return _errorString(result, &text) == 0 && text is not null
            ? Marshal.PtrToStringUTF8((nint)text) ?? "unknown"
            : "unknown";
    }

    /// <summary>Reads a name that a function writes into a buffer.</summary>
    public static string Text(ReadOnlySpan<byte> buffer)
    {
        var end = buffer.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? buffer : buffer[..end]);
    }

    private static CudaDriver Load()
    {
        nint library;
        try
        {
            library = NativeLibrary.Load(LibraryName);
        }
        catch (Exception missing) when (missing is DllNotFoundException or BadImageFormatException)
        {
            throw new CudaException(
                $"CUDA devices cannot be used: {LibraryName}, which the NVIDIA driver installs, cannot be loaded ({missing.Message.Trim().Split('\n')[^1]})", missing);
        }

        try
        {
            var driver = new CudaDriver(name => NativeLibrary.GetExport(library, name));
            driver.Check(driver.Initialize(0), "cuInit");
            return driver;
        }
        catch (EntryPointNotFoundException old)
        {
            throw new CudaException($"CUDA devices cannot be used: the NVIDIA driver is too old ({old.Message})", old);
        }
    }
}
