using Platform.Torch.Collectives;

namespace Platform.Torch.Timelines;

/// <summary>A world whose groups record how long the rank waits in them. It owns the groups it makes, not the world.</summary>
/// <param name="inner">The world.</param>
/// <param name="recorder">Takes the spans.</param>
public sealed class RecordingWorld(ICollectiveWorld inner, StepRecorder recorder) : ICollectiveWorld
{
    private bool _hasStages;

    /// <inheritdoc/>
    public int Rank => inner.Rank;

    /// <inheritdoc/>
    public int Size => inner.Size;

    /// <inheritdoc/>
    public string? AbortReason => inner.AbortReason;

    /// <inheritdoc/>
    public CancellationToken Aborted => inner.Aborted;

    /// <inheritdoc/>
    public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(members);
        var isPipeline = name.StartsWith("pipeline", StringComparison.Ordinal);
        _hasStages |= isPipeline && members.Count > 1;

        // With several stages those that finish early wait for the others where all ranks meet.
        return new RecordingGroup(inner.CreateGroup(name, members), recorder, isPipeline, () => name == "world" && _hasStages);
    }

    /// <inheritdoc/>
    public IReadOnlyList<CollectiveStatus> Status() => inner.Status();

    /// <inheritdoc/>
    public void Abort(string reason) => inner.Abort(reason);

    /// <summary>Nothing: the world belongs to its maker.</summary>
    public void Dispose()
    {
    }
}
