namespace Platform.Torch.Cuda;

/// <summary>Free and total memory of a device.</summary>
/// <param name="FreeBytes">Bytes no process holds.</param>
/// <param name="TotalBytes">Bytes of the device.</param>
public readonly record struct CudaMemory(long FreeBytes, long TotalBytes);

/// <summary>
/// One CUDA device of this process. It holds the device's primary context, which libtorch uses too, until it is disposed.
/// </summary>
public sealed unsafe class CudaDevice : IDisposable
{
    private const int ComputeCapabilityMajor = 75;
    private const int ComputeCapabilityMinor = 76;
    private const uint NonBlockingStream = 1;
    private const uint EventWithoutTiming = 2;
    private const uint PortableHostMemory = 1;

    private readonly int _device;
    private readonly nint _context;
    private int _disposed;

    internal CudaDevice(CudaDriver driver, int ordinal)
    {
        Driver = driver;
        var count = CountOf(driver);
        if (ordinal < 0 || ordinal >= count)
            throw new CudaException($"There is no CUDA device {ordinal}; this process sees {count}.");
        Ordinal = ordinal;
        int device;
        driver.Check(driver.DeviceGet(&device, ordinal), "cuDeviceGet");
        _device = device;
        var name = stackalloc byte[256];
        driver.Check(driver.DeviceName(name, 256, device), "cuDeviceGetName");
        Name = CudaDriver.Text(new ReadOnlySpan<byte>(name, 256));
        ComputeCapability = new Version(Attribute(ComputeCapabilityMajor), Attribute(ComputeCapabilityMinor));
        nint context;
        driver.Check(driver.PrimaryContextRetain(&context, device), "cuDevicePrimaryCtxRetain");
        _context = context;
    }

    /// <summary>Index among the devices this process sees (<c>CUDA_VISIBLE_DEVICES</c>).</summary>
    public int Ordinal { get; }

    /// <summary>Name of the product.</summary>
    public string Name { get; }

    /// <summary>Generation of the hardware: 9.0 for an H100 or H200.</summary>
    public Version ComputeCapability { get; }

    internal CudaDriver Driver { get; }

    /// <summary>Number of devices this process sees.</summary>
    /// <exception cref="CudaException">There is no usable driver.</exception>
    public static int Count() => CountOf(CudaDriver.OfMachine);

    /// <summary>Opens a device.</summary>
    /// <param name="ordinal">Index among those this process sees.</param>
    /// <exception cref="CudaException">There is no usable driver or no such device.</exception>
    public static CudaDevice Open(int ordinal) => new(CudaDriver.OfMachine, ordinal);

    /// <summary>Makes the device that of the calling thread; needed on each thread before any other call here.</summary>
    public void MakeCurrent()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        Driver.Check(Driver.ContextSetCurrent(_context), "cuCtxSetCurrent");
    }

    /// <summary>Memory as the driver sees it: what libtorch's allocator keeps in reserve counts as used.</summary>
    public CudaMemory Memory()
    {
        MakeCurrent();
        nuint free, total;
        Driver.Check(Driver.MemoryInfo(&free, &total), "cuMemGetInfo");
        return new((long)free, (long)total);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
            Driver.PrimaryContextRelease(_device);
    }

    internal nint CreateStream()
    {
        nint stream;
        Driver.Check(Driver.StreamCreate(&stream, NonBlockingStream), "cuStreamCreate");
        return stream;
    }

    internal nint CreateEvent()
    {
        nint made;
        Driver.Check(Driver.EventCreate(&made, EventWithoutTiming), "cuEventCreate");
        return made;
    }

    internal nint Allocate(long bytes)
    {
        nint address;
        Driver.Check(Driver.MemoryAllocate(&address, (nuint)bytes), $"cuMemAlloc of {bytes} bytes");
        return address;
    }

    internal nint AllocateHost(long bytes)
    {
        nint address;
        Driver.Check(Driver.HostAllocate(&address, (nuint)bytes, PortableHostMemory), $"cuMemHostAlloc of {bytes} bytes");
        return address;
    }

    /// <summary>Makes what is put on <paramref name="later"/> from now on wait for what is on <paramref name="earlier"/> now.</summary>
    internal void Order(nint earlier, nint later, nint with)
    {
        Driver.Check(Driver.EventRecord(with, earlier), "cuEventRecord");
        Driver.Check(Driver.StreamWaitEvent(later, with, 0), "cuStreamWaitEvent");
    }

    /// <summary>Whether all work before an event is done.</summary>
    internal bool IsDone(nint recorded)
    {
        var result = Driver.EventQuery(recorded);
        if (result == CudaDriver.NotReady)
            return false;
        Driver.Check(result, "cuEventQuery");
        return true;
    }

    private int Attribute(int attribute)
    {
        int value;
        Driver.Check(Driver.DeviceAttribute(&value, attribute, _device), "cuDeviceGetAttribute");
        return value;
    }

    private static int CountOf(CudaDriver driver)
    {
        int count;
        driver.Check(driver.DeviceCount(&count), "cuDeviceGetCount");
        return count;
    }
}
