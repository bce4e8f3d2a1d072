namespace Platform.Serving.Execution;

/// <summary>
/// A few threads that share the items of one kernel. The calling thread is lane 0; the others sleep between kernels. Which
/// lane takes which item is left to chance, so items must be independent of one another.
/// </summary>
internal sealed class ComputeLanes : IDisposable
{
    private const int SpinsBeforeSleep = 200;

    private readonly Thread[] _helpers;
    private readonly SemaphoreSlim _wake = new(0);
    private volatile Action<int, int>? _work;
    private volatile bool _closing;
    private int _items;
    private int _next;
    private int _busy;

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
        if (!parallel || items == 1 || _helpers.Length == 0)
        {
            for (var item = 0; item < items; item++)
                work(item, 0);
            return;
        }

        _items = items;
        _work = work;
        Volatile.Write(ref _busy, _helpers.Length);
        Volatile.Write(ref _next, 0);
        _wake.Release(_helpers.Length);
        Take(work, 0);
        var spinner = default(SpinWait);
        while (Volatile.Read(ref _busy) > 0)
            spinner.SpinOnce(sleep1Threshold: -1);
    }

    public void Dispose()
    {
        _closing = true;
        _wake.Release(Math.Max(1, _helpers.Length));
        foreach (var helper in _helpers)
            helper.Join();
        _wake.Dispose();
    }

    private void Help(int lane)
    {
        while (true)
        {
            for (var spin = 0; spin < SpinsBeforeSleep && _wake.CurrentCount == 0; spin++)
                Thread.SpinWait(20);
            _wake.Wait();
            if (_closing)
                return;
            if (_work is { } work)
                Take(work, lane);
            Interlocked.Decrement(ref _busy);
        }
    }

    private void Take(Action<int, int> work, int lane)
    {
        int item;
        while ((item = Interlocked.Increment(ref _next) - 1) < _items)
            work(item, lane);
    }
}
