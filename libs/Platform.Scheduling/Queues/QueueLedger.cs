namespace Platform.Scheduling.Queues;

/// <summary>
/// What queues use and may still use, in thousandths of devices. A queue has its own quota and may borrow what its tree
/// leaves unused, within its borrowing limit and the lending limits of the others. What a queue guarantees itself (its quota
/// less what it may lend) is never given to others; the rest is held by its parent, as far up as the tree goes.
/// One owner, no sharing.
/// </summary>
public sealed class QueueLedger
{
    private const int Whole = 1000;
    private readonly Dictionary<string, Entry> entries = new(StringComparer.Ordinal);
    private readonly IReadOnlyDictionary<string, long> capacity;
    private readonly QueueHistory history;

    /// <summary>Starts with nothing used.</summary>
    /// <param name="queues">Queues, sound by <see cref="QueueSpec.Check"/>.</param>
    /// <param name="capacity">Thousandths of devices in the cluster, by kind.</param>
    /// <param name="history">What was used lately.</param>
    public QueueLedger(IReadOnlyList<QueueSpec> queues, IReadOnlyDictionary<string, long> capacity, QueueHistory history)
    {
        (this.capacity, this.history) = (capacity, history);
        foreach (var queue in queues)
        {
            entries[queue.Name] = new Entry(queue);
        }

        foreach (var entry in entries.Values)
        {
            if (entry.Spec.Parent is { } parent && entries.TryGetValue(parent, out var above))
            {
                entry.Parent = above;
                above.Children.Add(entry);
            }
        }
    }

    /// <summary>Names of the queues that are known.</summary>
    public IReadOnlyCollection<string> Names => entries.Keys;

    /// <summary>Whether any quota bounds a kind of device for the queue.</summary>
    public bool IsLimited(string queue, string kind) => RootOf(Of(queue)).Names(kind);

    /// <summary>What the queue may still take; <see cref="long.MaxValue"/> when nothing bounds it.</summary>
    public long Available(string queue, string kind)
    {
        var entry = Of(queue);
        return RootOf(entry).Names(kind) ? Math.Max(0, Available(entry, kind)) : long.MaxValue;
    }

    /// <summary>The most the queue could ever take, with nothing in use; <see cref="long.MaxValue"/> when nothing bounds it.</summary>
    public long Largest(string queue, string kind)
    {
        var entry = Of(queue);
        return RootOf(entry).Names(kind) ? Largest(entry, kind) : long.MaxValue;
    }

    /// <summary>Counts devices as used, or with a negative amount as free again.</summary>
    public void Add(string queue, string kind, long milli)
    {
        var entry = Of(queue);
        entry.Own[kind] = entry.Own.GetValueOrDefault(kind) + milli;
        Add(entry, kind, milli);
    }

    /// <summary>Devices of a kind that are the queue's own.</summary>
    public int NominalOf(string queue, string kind) => Of(queue).Nominal(kind);

    /// <summary>What gangs of the queue itself use.</summary>
    public long Used(string queue, string kind) => Of(queue).Own.GetValueOrDefault(kind);

    /// <summary>What the queue and those below it use beyond their quota.</summary>
    public long Borrowed(string queue, string kind)
    {
        var entry = Of(queue);
        return RootOf(entry).Names(kind) ? Math.Max(0, entry.Subtree(kind) - entry.Quota(kind)) : 0;
    }

    /// <summary>What of the queue's quota others use: its share, by quota unused, of what its siblings borrow.</summary>
    public long Lent(string queue, string kind)
    {
        var entry = Of(queue);
        if (entry.Parent is not { } parent || !RootOf(entry).Names(kind))
        {
            return 0;
        }

        long idle = Lendable(entry, kind), all = parent.Children.Sum(child => Lendable(child, kind)) + (parent.Nominal(kind) * Whole);
        long borrowed = parent.Children.Sum(child => Math.Max(0, child.Subtree(kind) - child.Quota(kind)));
        return all == 0 ? 0 : Math.Min(idle, (long)Math.Ceiling(borrowed * ((double)idle / all)));
    }

    /// <summary>
    /// Weighted dominant share: of the kinds of device the one it has most of, in use now or lately, over its weight
    /// (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011).
    /// </summary>
    public double Share(string queue)
    {
        var entry = Of(queue);
        double share = 0;
        foreach (var (kind, all) in capacity)
        {
            if (all > 0)
            {
                share = Math.Max(share, Math.Max(entry.Own.GetValueOrDefault(kind), history.Average.GetValueOrDefault((queue, kind))) / all);
            }
        }

        return share / entry.Spec.Weight;
    }

    private Entry Of(string queue) => entries.TryGetValue(queue, out var entry) ? entry : entries[queue] = new Entry(new QueueSpec { Name = queue });

    private static Entry RootOf(Entry entry) => entry.Parent is { } parent ? RootOf(parent) : entry;

    private static long Lendable(Entry entry, string kind) =>
        Math.Max(0, Math.Min(entry.Quota(kind) - entry.Guaranteed(kind), entry.Quota(kind) - entry.Subtree(kind)));

    private static long Available(Entry entry, string kind)
    {
        if (entry.Parent is not { } parent)
        {
            return entry.Quota(kind) - entry.Subtree(kind);
        }

        long local = Math.Max(0, entry.Guaranteed(kind) - entry.Subtree(kind));
        long above = Available(parent, kind);
        if (entry.Spec.BorrowingLimit.TryGetValue(kind, out int limit))
        {
            long stored = entry.Quota(kind) - entry.Guaranteed(kind), used = Math.Max(0, entry.Subtree(kind) - entry.Guaranteed(kind));
            above = Math.Min(above, stored - used + ((long)limit * Whole));
        }

        return local + above;
    }

    private static long Largest(Entry entry, string kind)
    {
        if (entry.Parent is not { } parent)
        {
            return entry.Quota(kind);
        }

        long above = Largest(parent, kind);
        if (entry.Spec.BorrowingLimit.TryGetValue(kind, out int limit))
        {
            above = Math.Min(above, entry.Quota(kind) - entry.Guaranteed(kind) + ((long)limit * Whole));
        }

        return entry.Guaranteed(kind) + above;
    }

    private static void Add(Entry entry, string kind, long milli)
    {
        long guaranteed = entry.Guaranteed(kind), before = Math.Max(0, entry.Subtree(kind) - guaranteed);
        entry.InUse[kind] = entry.Subtree(kind) + milli;
        long beyond = Math.Max(0, entry.Subtree(kind) - guaranteed) - before;
        if (entry.Parent is { } parent && beyond != 0)
        {
            Add(parent, kind, beyond);
        }
    }

    private sealed class Entry(QueueSpec spec)
    {
        public QueueSpec Spec => spec;

        public Entry? Parent { get; set; }

        public List<Entry> Children { get; } = [];

        /// <summary>What its own gangs use.</summary>
        public Dictionary<string, long> Own { get; } = [];

        /// <summary>What it and those below it use, less what these use of what they guarantee themselves.</summary>
        public Dictionary<string, long> InUse { get; } = [];

        public long Subtree(string kind) => InUse.GetValueOrDefault(kind);

        public int Nominal(string kind) => spec.Nominal.GetValueOrDefault(kind);

        public bool Names(string kind) => spec.Nominal.ContainsKey(kind) || Children.Any(child => child.Names(kind));

        /// <summary>Its own quota and what those below it may lend.</summary>
        public long Quota(string kind) => ((long)Nominal(kind) * Whole) + Children.Sum(child => child.Quota(kind) - child.Guaranteed(kind));

        public long Guaranteed(string kind) =>
            spec.LendingLimit.TryGetValue(kind, out int limit) ? Math.Max(0, Quota(kind) - ((long)limit * Whole)) : 0;
    }
}
