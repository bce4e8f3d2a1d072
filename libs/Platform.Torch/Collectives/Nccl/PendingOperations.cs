using Platform.Torch.Cuda;

namespace Platform.Torch.Collectives.Nccl;

/// <summary>
/// What was put on streams and may not be done yet, in order per stream, for the watchdog and for hang reports. The events
/// it hands out are used again once they are done.
/// </summary>
internal sealed class PendingOperations(CudaDevice device, TimeProvider time) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<nint, Queue<Entry>> _streams = [];
    private readonly Stack<nint> _free = [];
    private readonly List<nint> _all = [];

    /// <summary>An operation on a stream.</summary>
    /// <param name="Signature">What it is.</param>
    /// <param name="Peer">"to rank 3" for a message; null for a collective.</param>
    /// <param name="Done">Event behind it.</param>
    /// <param name="Since">When it came to be the next of its stream, as a timestamp.</param>
    /// <param name="Enqueued">When it was put there.</param>
    public sealed record Entry(OperationSignature Signature, string? Peer, nint Done, long Since, DateTimeOffset Enqueued);

    /// <summary>An event that nothing waits for.</summary>
    public nint RentEvent()
    {
        lock (_gate)
        {
            if (_free.TryPop(out var free))
                return free;
            var made = device.CreateEvent();
            _all.Add(made);
            return made;
        }
    }

    /// <summary>Gives an event back that was not added.</summary>
    public void Return(nint rented)
    {
        lock (_gate)
            _free.Push(rented);
    }

    /// <summary>Notes an operation whose event has been recorded behind it; the event is this object's from here on.</summary>
    public void Add(nint stream, OperationSignature signature, string? peer, nint done)
    {
        lock (_gate)
        {
            if (!_streams.TryGetValue(stream, out var queue))
                _streams.Add(stream, queue = new());
            Collect(queue);
            queue.Enqueue(new(signature, peer, done, time.GetTimestamp(), time.GetUtcNow()));
        }
    }

    /// <summary>The operation that has been next of its stream for longest; null when all are done. The device is current.</summary>
    public Entry? Oldest()
    {
        lock (_gate)
        {
            Entry? oldest = null;
            foreach (var queue in _streams.Values)
            {
                Collect(queue);
                if (queue.TryPeek(out var next) && (oldest is null || next.Since < oldest.Since))
                    oldest = next;
            }

            return oldest;
        }
    }

    /// <summary>How long the operation has been the next of its stream.</summary>
    public TimeSpan Age(Entry entry) => time.GetElapsedTime(entry.Since);

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var made in _all)
                DestroyEvent(made);
            _all.Clear();
            _free.Clear();
            _streams.Clear();
        }
    }

    private unsafe void DestroyEvent(nint made) => device.Driver.EventDestroy(made);

    private void Collect(Queue<Entry> queue)
    {
        var finished = false;
        while (queue.TryPeek(out var next) && device.IsDone(next.Done))
        {
            _free.Push(queue.Dequeue().Done);
            finished = true;
        }

        // The next one could not begin before; its time starts now.
        if (!finished || queue.Count == 0)
            return;
        var rest = queue.ToArray();
        queue.Clear();
        queue.Enqueue(rest[0] with { Since = time.GetTimestamp() });
        foreach (var entry in rest.AsSpan(1))
            queue.Enqueue(entry);
    }
}
