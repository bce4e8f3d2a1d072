using Platform.Torch.Native;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Cuda;

/// <summary>
/// Brings small host data such as token ids to a device without waiting: they are copied into page-locked memory, from which the
/// device fetches them in the order of its other work. Each piece of that memory is used again once its copy is done. Used by
/// one thread.
/// </summary>
public sealed unsafe class PinnedStaging : IDisposable
{
    private const nint ComputeStream = 0;

    private readonly CudaDevice _device;
    private readonly nint _stream;
    private readonly Slot[] _slots;
    private long _copies;

    /// <summary>Staging memory for a device.</summary>
    /// <param name="device">The device; must outlive it.</param>
    /// <param name="slots">Copies that may be under way before another waits for the oldest.</param>
    public PinnedStaging(CudaDevice device, int slots = 8)
        : this(device, slots, ComputeStream)
    {
    }

    /// <summary>Staging memory whose copies go on a stream.</summary>
    internal PinnedStaging(CudaDevice device, int slots, nint stream)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(slots);
        (_device, _stream) = (device, stream);
        _slots = [.. Enumerable.Range(0, slots).Select(_ => new Slot())];
    }

    /// <summary>A tensor of ids on a device; the copy to it is under way, before all later work of the device.</summary>
    /// <param name="ids">The ids, which may change as soon as this returns.</param>
    /// <param name="place">The device as libtorch names it.</param>
    public Tensor Ids(ReadOnlySpan<long> ids, torch.Device place)
    {
        NativeRuntime.EnsureLoaded();
        var tensor = torch.empty([ids.Length], dtype: ScalarType.Int64, device: place);
        Copy(System.Runtime.InteropServices.MemoryMarshal.AsBytes(ids), TensorMemory.Address(tensor));
        return tensor;
    }

    /// <summary>Copies bytes to the device; returns while the copy is under way, unless all staging memory is.</summary>
    /// <param name="source">The bytes, which may change as soon as this returns.</param>
    /// <param name="destination">Device address with room for them.</param>
    public void Copy(ReadOnlySpan<byte> source, nint destination)
    {
        if (source.IsEmpty)
            return;
        _device.MakeCurrent();
        var slot = _slots[_copies++ % _slots.Length];
        while (slot.Copied != 0 && !_device.IsDone(slot.Copied))
            Thread.Sleep(0);
        if (slot.Memory is not { } memory || memory.Length < source.Length)
        {
            slot.Memory?.Dispose();
            slot.Memory = memory = new PinnedMemory(_device, source.Length);
        }

        if (slot.Copied == 0)
            slot.Copied = _device.CreateEvent();
        source.CopyTo(memory.Span);
        var driver = _device.Driver;
        driver.Check(driver.CopyHostToDevice(destination, memory.Address, (nuint)source.Length, _stream), "cuMemcpyHtoDAsync");
        driver.Check(driver.EventRecord(slot.Copied, _stream), "cuEventRecord");
    }

    /// <summary>Waits for copies under way and frees the memory.</summary>
    public void Dispose()
    {
        foreach (var slot in _slots)
        {
            if (slot.Copied != 0)
            {
                _device.MakeCurrent();
                while (!_device.IsDone(slot.Copied))
                    Thread.Sleep(0);
                _device.Driver.EventDestroy(slot.Copied);
            }

            slot.Memory?.Dispose();
            (slot.Memory, slot.Copied) = (null, 0);
        }
    }

    /// <summary>Memory of one copy.</summary>
    private sealed class Slot
    {
        public PinnedMemory? Memory { get; set; }

        /// <summary>Event behind the last copy from it; 0 before the first.</summary>
        public nint Copied { get; set; }
    }
}
