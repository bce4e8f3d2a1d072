namespace Platform.Serving.Execution;

/// <summary>
/// A few threads that share the items of one kernel. The calling thread is lane 0. The others spin for some tens of
/// microseconds after a kernel, because the next one usually follows at once, and then sleep; a helper that wakes late finds
/// the items done and nobody waited for it. Which lane takes which item is left to chance, so items must be independent of
/// one another. One thread calls at a time.
/// </summary>
internal sealed class ComputeLanes : IDisposable
{
    private const int SpinsBeforeSleep = 1000;
    private const int SpinsBeforeYield = 20_000;

    private readonly Thread[] _helpers;
    private readonly SemaphoreSlim _wake = new(0);
    private volatile Action<int, int>? _work;
    private volatile bool _closing;
    private int _items;
    private int _sleeping;

    // Each on a cache line of its own.
    private readonly Counter _remaining = new();
    private readonly Counter _done = new();

    public ComputeLanes(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        Count = count;
        _helpers = new Thread[count - 1];
        for (var i = 0; i < _helpers.Length; i++)
        {
            var lane = i + 1;
            _helpers[i] = new Thread(() => Help(lane)) { IsBackground = true, Name = $"compute {lane}" };
            _helpers[i].Start();
        }
    }

    /// <summary>Lanes, the caller's included.</summary>
    public int Count { get; }

    /// <summary>Runs <c>work(item, lane)</c> for every item below <paramref name="items"/> and returns when all are done.</summary>
    /// <param name="items">Number of items.</param>
    /// <param name="parallel">Whether the work is worth waking the helpers for.</param>
    /// <param name="work">The kernel; must not throw.</param>
    public void Run(int items, bool parallel, Action<int, int> work)
    {
        if (!parallel || items <= 1 || _helpers.Length == 0)
        {
            for (var item = 0; item < items; item++)
                work(item, 0);
            return;
        }

        // Whoever still asks for items of the last kernel finds less than zero of them, so these stores are seen in order by
        // everyone who gets an item of this one.
        _items = items;
        _work = work;
        Volatile.Write(ref _done.Value, 0);
        Interlocked.Exchange(ref _remaining.Value, items);
        if (Volatile.Read(ref _sleeping) > 0)
            Wake();
        Take(0);
        var spins = 0;
        while (Volatile.Read(ref _done.Value) < items)
        {
            if (++spins < SpinsBeforeYield)
                Thread.SpinWait(1);
            else
                Thread.Yield();
        }
    }

    public void Dispose()
    {
        if (_closing)
            return;
        _closing = true;
        _wake.Release(Math.Max(1, _helpers.Length));
        foreach (var helper in _helpers)
            helper.Join();
        _wake.Dispose();
    }

    private void Wake()
    {
        var sleeping = Interlocked.Exchange(ref _sleeping, 0);
        if (sleeping > 0)
            _wake.Release(sleeping);
    }

    private void Help(int lane)
    {
        while (!_closing)
        {
            Take(lane);
            var spins = 0;
            while (Volatile.Read(ref _remaining.Value) <= 0 && !_closing && spins < SpinsBeforeSleep)
            {
                Thread.SpinWait(1);
                spins++;
            }

            if (spins < SpinsBeforeSleep)
                continue;
            Interlocked.Increment(ref _sleeping);
            // Work that came between the last look and the increment would not wake this thread.
            if (Volatile.Read(ref _remaining.Value) > 0 || _closing)
                Wake();
            _wake.Wait();
        }
    }

    private void Take(int lane)
    {
        int left;
        while (Volatile.Read(ref _remaining.Value) > 0 && (left = Interlocked.Decrement(ref _remaining.Value)) >= 0)
        {
            _work?.Invoke(_items - 1 - left, lane);
            Interlocked.Increment(ref _done.Value);
        }
    }

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Explicit, Size = 192)]
    private sealed class Counter
    {
        [System.Runtime.InteropServices.FieldOffset(64)]
        public int Value;
    }
}
