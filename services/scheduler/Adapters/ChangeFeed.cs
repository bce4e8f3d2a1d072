using System.Threading.Channels;

namespace Platform.Scheduler.Adapters;

/// <summary>Wakes watchers after commits. A watcher that is slow finds one wake-up waiting, however much has happened.</summary>
internal sealed class ChangeFeed
{
    private readonly Lock gate = new();
    private readonly List<Watcher> watchers = [];

    /// <summary>Watches names; all of them when none is given.</summary>
    public Watcher Watch(params string[] names)
    {
        var watcher = new Watcher(this, names.ToHashSet());
        lock (gate)
        {
            watchers.Add(watcher);
        }

        return watcher;
    }

    public void Publish(IReadOnlyCollection<string> names)
    {
        if (names.Count == 0)
        {
            return;
        }

        lock (gate)
        {
            foreach (var watcher in watchers.Where(watcher => watcher.Concerns(names)))
            {
                watcher.Wake();
            }
        }
    }

    private void Remove(Watcher watcher)
    {
        lock (gate)
        {
            watchers.Remove(watcher);
        }
    }

    /// <summary>One watcher.</summary>
    internal sealed class Watcher(ChangeFeed feed, HashSet<string> names) : IDisposable
    {
        private readonly Channel<bool> signal = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

        public bool Concerns(IReadOnlyCollection<string> changed) => names.Count == 0 || changed.Any(names.Contains);

        public void Wake() => signal.Writer.TryWrite(true);

        /// <summary>Waits until something it watches has changed since the last call.</summary>
        public async Task WaitAsync(CancellationToken cancellationToken) => await signal.Reader.ReadAsync(cancellationToken);

        public void Dispose() => feed.Remove(this);
    }
}
