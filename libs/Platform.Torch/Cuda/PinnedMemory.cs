namespace Platform.Torch.Cuda;

/// <summary>
/// Page-locked host memory, which devices copy from and to without the driver's staging. Owned by whoever made it.
/// </summary>
public sealed unsafe class PinnedMemory : IDisposable
{
    private readonly CudaDevice _device;
    private nint _address;

    /// <summary>Allocates memory.</summary>
    /// <param name="device">Device that will copy; must outlive it.</param>
    /// <param name="lengthBytes">Bytes; at least 1.</param>
    public PinnedMemory(CudaDevice device, int lengthBytes)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(lengthBytes);
        _device = device;
        Length = lengthBytes;
        device.MakeCurrent();
        _address = device.AllocateHost(lengthBytes);
    }

    /// <summary>Bytes.</summary>
    public int Length { get; }

    /// <summary>Address of the first byte.</summary>
    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == 0, this);
            return _address;
        }
    }

    /// <summary>The memory; do not use it after disposal.</summary>
    public Span<byte> Span => new((void*)Address, Length);

    /// <summary>Copies to the device and returns when the copy is done.</summary>
    /// <param name="destination">Device address with room for the bytes.</param>
    /// <param name="lengthBytes">Bytes from the start of this memory.</param>
    public void CopyTo(nint destination, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, Length);
        _device.MakeCurrent();
        var driver = _device.Driver;
        driver.Check(driver.CopyHostToDevice(destination, Address, (nuint)lengthBytes, 0), "cuMemcpyHtoDAsync");
        driver.Check(driver.StreamSynchronize(0), "cuStreamSynchronize");
    }

    /// <summary>Copies from the device and returns when the copy is done.</summary>
    /// <param name="source">Device address.</param>
    /// <param name="lengthBytes">Bytes to the start of this memory.</param>
    public void CopyFrom(nint source, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, Length);
        _device.MakeCurrent();
        var driver = _device.Driver;
        driver.Check(driver.CopyDeviceToHost(Address, source, (nuint)lengthBytes, 0), "cuMemcpyDtoHAsync");
        driver.Check(driver.StreamSynchronize(0), "cuStreamSynchronize");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        var address = Interlocked.Exchange(ref _address, 0);
        if (address == 0)
            return;
        _device.MakeCurrent();
        _device.Driver.HostFree(address);
    }
}
