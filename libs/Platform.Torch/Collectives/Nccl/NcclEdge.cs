using Platform.Torch.Cuda;

namespace Platform.Torch.Collectives.Nccl;

/// <summary>
/// One direction between two ranks: a communicator and a stream of its own, so that a message that is not received yet holds
/// up nothing else. The sending side copies messages into staging memory, so that the caller may use its buffer again.
/// </summary>
internal sealed unsafe class NcclEdge : IDisposable
{
    private readonly CudaDevice _device;
    private readonly Slot[] _slots;
    private long _sent;
    private (nint Address, nint Done)? _posted;

    /// <param name="device">This rank's device.</param>
    /// <param name="communicator">Of the two ranks; owned.</param>
    /// <param name="messages">Messages that can be under way before a send waits.</param>
    public NcclEdge(CudaDevice device, NcclCommunicator communicator, int messages)
    {
        _device = device;
        _slots = [.. Enumerable.Range(0, messages).Select(_ => new Slot())];
        Communicator = communicator;
        Stream = device.CreateStream();
    }

    /// <summary>Memory of a message under way.</summary>
    internal sealed class Slot
    {
        public nint Address { get; set; }

        public long Capacity { get; set; }

        /// <summary>Event behind the send; 0 before the first.</summary>
        public nint Sent { get; set; }
    }

    public NcclCommunicator Communicator { get; }

    public nint Stream { get; }

    /// <summary>Staging for the next message; before it is used its last send must be done.</summary>
    public Slot NextSlot() => _slots[_sent++ % _slots.Length];

    /// <summary>Makes room in a slot whose last send is done.</summary>
    public void Fit(Slot slot, long bytes)
    {
        if (slot.Capacity >= bytes)
            return;
        Free(slot);
        slot.Address = _device.Allocate(bytes);
        slot.Capacity = bytes;
    }

    /// <summary>Begins the receive of the next message, unless one has begun.</summary>
    /// <param name="address">Where it goes.</param>
    /// <param name="enqueue">Puts it on the stream and gives an event behind it.</param>
    public void Post(nint address, Func<nint> enqueue)
    {
        if (_posted is not null)
            throw new InvalidOperationException("A receive of this edge has begun already.");
        _posted = (address, enqueue());
    }

    /// <summary>The receive that has begun, whose end is the caller's to see to; null when none has.</summary>
    public (nint Address, nint Done)? TakePosted()
    {
        var posted = _posted;
        _posted = null;
        return posted;
    }

    public void Dispose()
    {
        Communicator.Dispose();
        foreach (var slot in _slots)
        {
            Free(slot);
            if (slot.Sent != 0)
                _device.Driver.EventDestroy(slot.Sent);
        }

        _device.Driver.StreamDestroy(Stream);
    }

    private void Free(Slot slot)
    {
        if (slot.Address != 0)
            _device.Driver.MemoryFree(slot.Address);
        (slot.Address, slot.Capacity) = (0, 0);
    }
}
