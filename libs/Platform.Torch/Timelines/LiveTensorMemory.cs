using Platform.Torch.Native;

namespace Platform.Torch.Timelines;

/// <summary>
/// Live tensor bytes of this process on the CPU: what the native allocator has handed out beyond what it had when this was
/// made. It is sampled every few milliseconds by a thread of its own, and wherever <see cref="Sample"/> is called.
/// </summary>
/// <remarks>
/// libtorch keeps CPU tensors in the C library's heap, so the figure also holds scratch memory of matrix products, and a few
/// megabytes of the runtime; it does not see memory that a replaced allocator hands out.
/// </remarks>
public sealed class LiveTensorMemory : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(5);

    private readonly long _before;
    private readonly Thread? _thread;
    private readonly ManualResetEventSlim _closing = new();
    private long _highest;

    private LiveTensorMemory(long before, bool samples)
    {
        _before = before;
        if (!samples)
            return;
        _thread = new Thread(() =>
        {
            while (!_closing.Wait(Interval))
                Sample();
        })
        { IsBackground = true, Name = "memory" };
        _thread.Start();
    }

    /// <summary>Starts counting; null where the allocator does not tell.</summary>
    /// <param name="samples">Whether a thread samples as well.</param>
    public static LiveTensorMemory? Start(bool samples) => NativeHeap.BytesInUse() is { } before ? new LiveTensorMemory(before, samples) : null;

    /// <summary>The highest sample, in bytes.</summary>
    public long Highest => Interlocked.Read(ref _highest);

    /// <summary>Looks now.</summary>
    /// <returns>Bytes in use beyond those at the start.</returns>
    public long Sample()
    {
        var live = (NativeHeap.BytesInUse() ?? _before) - _before;
        for (var known = Highest; live > known; known = Highest)
        {
            if (Interlocked.CompareExchange(ref _highest, live, known) == known)
                break;
        }

        return live;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _closing.Set();
        _thread?.Join();
        _closing.Dispose();
    }
}
