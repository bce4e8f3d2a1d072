using System.Runtime.ExceptionServices;
using Platform.Torch.Collectives;

namespace Platform.Torch.Parallel;

/// <summary>
/// Runs a group's collectives in the order in which they were given, on a thread of its own, so that the thread that computes
/// need not wait for them until it needs their result. As every rank gives the same collectives in the same order, their
/// numbers agree. Nobody else may use the group meanwhile.
/// </summary>
/// <remarks>
/// Used by one thread. The first failure ends the queue: whatever else is waiting is dropped, and every later call throws that
/// failure again on the thread that computes.
/// </remarks>
public sealed class CommunicationQueue : IDisposable
{
    private const int Capacity = 1024;

    private readonly Lock _gate = new();
    private readonly Queue<Action<ICollectiveGroup>> _waiting = new();
    private readonly ICollectiveGroup _group;
    private readonly AutoResetEvent _given = new(false);
    private readonly AutoResetEvent _taken = new(false);
    private readonly Thread? _thread;
    private ExceptionDispatchInfo? _failure;
    private long _lastGiven;
    private long _lastDone;
    private bool _ending;

    /// <summary>A queue for a group.</summary>
    /// <param name="group">The group; not owned.</param>
    /// <param name="overlap">False to run each collective at once, on the thread that gives it.</param>
    public CommunicationQueue(ICollectiveGroup group, bool overlap)
    {
        ArgumentNullException.ThrowIfNull(group);
        _group = group;
        if (!overlap)
            return;
        _thread = new Thread(Work) { IsBackground = true, Name = $"communication of {group.Name}" };
        _thread.Start();
    }

    /// <summary>Whether its thread runs.</summary>
    public bool IsRunning => _thread?.IsAlive == true;

    /// <summary>Gives a collective to be run after those before it.</summary>
    /// <param name="operation">The call. What it reads and writes stays in place and untouched until <see cref="Wait"/>.</param>
    /// <returns>Its number, from 1.</returns>
    /// <exception cref="CollectiveException">An earlier one failed.</exception>
    public long Enqueue(Action<ICollectiveGroup> operation)
    {
        ArgumentNullException.ThrowIfNull(operation);
        if (_thread is null)
        {
            operation(_group);
            return ++_lastGiven;
        }

        while (true)
        {
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_ending, this);
                _failure?.Throw();
                if (_waiting.Count < Capacity)
                {
                    _waiting.Enqueue(operation);
                    _given.Set();
                    return ++_lastGiven;
                }
            }

            _taken.WaitOne();
        }
    }

    /// <summary>Whether the collective of this number, and so all before it, are done.</summary>
    public bool IsDone(long number)
    {
        if (_thread is null)
            return true;
        lock (_gate)
            return _lastDone >= number;
    }

    /// <summary>Returns once the collective of this number, and so all before it, are done.</summary>
    /// <exception cref="CollectiveException">It, or one before it, failed.</exception>
    public void Wait(long number)
    {
        while (_thread is not null)
        {
            lock (_gate)
            {
                if (_lastDone >= number)
                    return;
                _failure?.Throw();
                ObjectDisposedException.ThrowIf(_ending, this);
            }

            _taken.WaitOne();
        }
    }

    /// <summary>
    /// Ends the thread. A collective that is still under way belongs to a step that this rank will not finish: the world is
    /// aborted, so that neither this rank nor its peers wait for it.
    /// </summary>
    public void Dispose()
    {
        if (_thread is not null && !_ending)
        {
            bool isIdle;
            lock (_gate)
            {
                _ending = true;
                isIdle = _lastDone == _lastGiven || _failure is not null;
                _waiting.Clear();
            }

            if (!isIdle)
                _group.Abort($"this rank stopped while its collectives of {_group.Name} were under way");
            _given.Set();
            _thread.Join();
        }

        _given.Dispose();
        _taken.Dispose();
    }

    private void Work()
    {
        while (true)
        {
            Action<ICollectiveGroup>? next;
            lock (_gate)
            {
                if (_failure is not null || (_ending && _waiting.Count == 0))
                    return;
                _waiting.TryDequeue(out next);
            }

            if (next is null)
            {
                _given.WaitOne();
                continue;
            }

            try
            {
                next(_group);
                lock (_gate)
                    _lastDone++;
            }
            catch (Exception failure)
            {
                // Every kind: the thread that computes throws it on.
                lock (_gate)
                {
                    _failure = ExceptionDispatchInfo.Capture(failure);
                    _waiting.Clear();
                }
            }

            _taken.Set();
        }
    }
}
