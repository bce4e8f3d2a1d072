namespace Platform.Torch.Collectives;

/// <summary>One rank's view of all ranks of a gang: it makes groups and shares one fate among them.</summary>
public interface ICollectiveWorld : IDisposable
{
    /// <summary>This process's rank in the world.</summary>
    int Rank { get; }

    /// <summary>Number of ranks in the world.</summary>
    int Size { get; }

    /// <summary>Why the world was aborted; null while it is well.</summary>
    string? AbortReason { get; }

    /// <summary>Cancelled when the world is aborted.</summary>
    CancellationToken Aborted { get; }

    /// <summary>
    /// Makes the group of these world ranks, in this order. Every member calls this with the same name and members; it does
    /// not wait for the others, the group's first operation does.
    /// </summary>
    /// <exception cref="ArgumentException">The name is taken, the members repeat or are outside the world, or this rank is not one of them.</exception>
    ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members);

    /// <summary>What this rank is doing in each of its groups; may be called from any thread.</summary>
    IReadOnlyList<CollectiveStatus> Status();

    /// <summary>Aborts every group of every rank; the first reason stands. May be called from any thread.</summary>
    void Abort(string reason);
}
