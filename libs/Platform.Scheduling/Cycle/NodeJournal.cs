using System.Runtime.InteropServices;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Which nodes of a ledger changed, in order. Indexes read on from where they stopped, so that each costs what changed since
/// it was last asked and one that nobody asks costs nothing.
/// </summary>
internal sealed class NodeJournal
{
    private readonly List<int> changed = [];
    private long start;
    private long read;

    /// <summary>Position after the last change.</summary>
    public long End => start + changed.Count;

    /// <summary>Changes that are kept.</summary>
    public int Length => changed.Count;

    /// <summary>Notes that what is free on a node changed.</summary>
    public void Note(int node)
    {
        // Several ranks on one node are one change, unless somebody looked in between.
        if (changed.Count == 0 || changed[^1] != node || End == read)
        {
            changed.Add(node);
        }
    }

    /// <summary>Changes from a position on. Valid until the next change.</summary>
    public ReadOnlySpan<int> Since(long position) => CollectionsMarshal.AsSpan(changed)[(int)(position - start)..];

    /// <summary>Notes that somebody has seen all changes; returns the position after the last.</summary>
    public long Read() => read = End;

    /// <summary>Forgets all changes; every reader has seen them.</summary>
    public void Clear()
    {
        start = End;
        changed.Clear();
    }
}

/// <summary>Something kept up to date with a ledger's nodes by its journal.</summary>
internal abstract class NodeIndex(NodeJournal journal)
{
    private long seen = journal.Read();

    /// <summary>Whether it was asked since this was last set to false.</summary>
    public bool Asked { get; set; } = true;

    /// <summary>Takes in what changed since the last time.</summary>
    public void CatchUp()
    {
        Asked = true;
        foreach (int node in journal.Since(seen))
        {
            Update(node);
        }

        seen = journal.Read();
    }

    /// <summary>Looks at one node anew.</summary>
    protected abstract void Update(int node);
}
