using Platform.Torch.Native;

namespace Platform.Torch.Timelines;

/// <summary>
/// Live tensor bytes of this process on the CPU: what the native allocator has handed out beyond what it had when this was
/// made. It is sampled by a thread of its own, and wherever <see cref="Sample"/> is called.
/// </summary>
/// <remarks>
/// libtorch keeps CPU tensors in the C library's heap, so the figure also holds scratch memory of matrix products, and a few
/// megabytes of the runtime; it does not see memory that a replaced allocator hands out.
/// </remarks>
public sealed class LiveTensorMemory : IDisposable
{
    private long _before;
    private int _aside;
    private readonly Thread? _thread;
    private readonly ManualResetEventSlim _closing = new();
    private long _highest;

    private LiveTensorMemory(long before, TimeSpan? interval)
    {
        _before = before;
        if (interval is not { } pause)
            return;
        _thread = new Thread(() =>
        {
            while (!_closing.Wait(pause))
                Sample();
        })
        { IsBackground = true, Name = "memory" };
        _thread.Start();
    }

    /// <summary>Starts counting; null where the allocator does not tell.</summary>
    /// <param name="interval">Time between the samples of a thread of its own; null for no such thread.</param>
    public static LiveTensorMemory? Start(TimeSpan? interval) => NativeHeap.BytesInUse() is { } before ? new LiveTensorMemory(before, interval) : null;

    /// <summary>The highest sample, in bytes.</summary>
    public long Highest => Interlocked.Read(ref _highest);

    /// <summary>Looks now.</summary>
    /// <returns>Bytes in use beyond those at the start.</returns>
    public long Sample()
    {
        var before = Interlocked.Read(ref _before);
        var live = (NativeHeap.BytesInUse() ?? before) - before;
        if (Volatile.Read(ref _aside) > 0)
            return live;
        for (var known = Highest; live > known; known = Highest)
        {
            if (Interlocked.CompareExchange(ref _highest, live, known) == known)
                break;
        }

        return live;
    }

    /// <summary>
    /// Until its disposal nothing is sampled, and what is allocated meanwhile and kept does not count afterwards: a copy of the
    /// state that a checkpoint writes is none of training's tensors.
    /// </summary>
    public IDisposable SetAside()
    {
        Interlocked.Increment(ref _aside);
        return new Exclusion(this, NativeHeap.BytesInUse() ?? 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _closing.Set();
        _thread?.Join();
        _closing.Dispose();
    }

    private sealed class Exclusion(LiveTensorMemory memory, long atBegin) : IDisposable
    {
        public void Dispose()
        {
            Interlocked.Add(ref memory._before, Math.Max(0, (NativeHeap.BytesInUse() ?? atBegin) - atBegin));
            Interlocked.Decrement(ref memory._aside);
        }
    }
}
