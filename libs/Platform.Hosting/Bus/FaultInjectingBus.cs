using System.Collections.Concurrent;

namespace Platform.Hosting.Bus;

/// <summary>
/// Loses, repeats, delays and so reorders messages on their way out, as a seeded source of chance decides. What is
/// received is untouched.
/// </summary>
public sealed class FaultInjectingBus : IMessageBus, IAsyncDisposable
{
    private readonly IMessageBus _inner;
    private readonly BusFaultOptions _faults;
    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly CancellationTokenSource _disposed = new();
    private readonly ConcurrentDictionary<Task, byte> _late = new();
    private long _lost;
    private long _duplicated;
    private long _delayed;

    /// <summary>Wraps a bus.</summary>
    /// <param name="inner">Bus that carries what is not lost; disposed with this one.</param>
    /// <param name="faults">Probabilities.</param>
    /// <param name="time">Clock of the delays.</param>
    public FaultInjectingBus(IMessageBus inner, BusFaultOptions faults, TimeProvider time)
    {
        _inner = inner;
        _faults = faults;
        _time = time;
        _random = new Random(faults.Seed);
    }

    /// <summary>Messages lost so far.</summary>
    public long Lost => Interlocked.Read(ref _lost);

    /// <summary>Messages repeated so far.</summary>
    public long Duplicated => Interlocked.Read(ref _duplicated);

    /// <summary>Messages delayed so far.</summary>
    public long Delayed => Interlocked.Read(ref _delayed);

    /// <inheritdoc/>
    public async Task SendAsync<T>(string queue, T message, CancellationToken cancellationToken)
        where T : class
    {
        (bool lose, TimeSpan[] delays) = Decide();
        if (lose)
        {
            Interlocked.Increment(ref _lost);
            return;
        }

        if (delays.Length > 1)
        {
            Interlocked.Increment(ref _duplicated);
        }

        foreach (TimeSpan delay in delays)
        {
            if (delay == TimeSpan.Zero)
            {
                await _inner.SendAsync(queue, message, cancellationToken);
            }
            else
            {
                Interlocked.Increment(ref _delayed);
                Task late = SendLateAsync(queue, message, delay);
                _late[late] = 0;
                _ = late.ContinueWith(t => _late.TryRemove(t, out _), TaskScheduler.Default);
            }
        }
    }

    /// <inheritdoc/>
    public Task<IAsyncDisposable> ReceiveAsync(
        string queue, IReadOnlyList<MessageHandler> handlers, CancellationToken cancellationToken) =>
        _inner.ReceiveAsync(queue, handlers, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _disposed.CancelAsync();
        await Task.WhenAll(_late.Keys);
        _disposed.Dispose();
        if (_inner is IAsyncDisposable disposable)
        {
            await disposable.DisposeAsync();
        }
    }

    private (bool Lose, TimeSpan[] Delays) Decide()
    {
        lock (_random)
        {
            // Always the same number of draws, so that one probability does not shift the decisions of another.
            double lose = _random.NextDouble(), duplicate = _random.NextDouble();
            var first = TimeSpan.FromMilliseconds(_random.NextDouble() * _faults.DelayMilliseconds);
            var second = TimeSpan.FromMilliseconds(_random.NextDouble() * _faults.DelayMilliseconds);
            return (lose < _faults.Lose, duplicate < _faults.Duplicate ? [first, second] : [first]);
        }
    }

    private async Task SendLateAsync<T>(string queue, T message, TimeSpan delay)
        where T : class
    {
        try
        {
            await Task.Delay(delay, _time, _disposed.Token);
            await _inner.SendAsync(queue, message, _disposed.Token);
        }
        catch (Exception)
        {
            // Late and lost are the same to whoever receives.
            Interlocked.Increment(ref _lost);
        }
    }
}
