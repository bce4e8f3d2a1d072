namespace Platform.Serving.Core.Scheduling;

/// <summary>Sizes within which the scheduler plans.</summary>
public sealed record SchedulerLimits
{
    /// <summary>Most sequences that run at once.</summary>
    public required int MaxSequences { get; init; }

    /// <summary>Most tokens of one iteration; at least <see cref="MaxSequences"/>, so that every running stream advances.</summary>
    public required int MaxBatchedTokens { get; init; }

    /// <summary>Most sequences that wait beyond those that may run.</summary>
    public required int MaxWaiting { get; init; }

    /// <summary>Longest sequence of the model, prompt and output together, in tokens.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Tokens per block.</summary>
    public required int BlockSize { get; init; }

    /// <summary>Blocks of the key/value cache.</summary>
    public required int BlockCount { get; init; }

    /// <summary>Share blocks of equal prefixes.</summary>
    public bool PrefixCaching { get; init; } = true;

    /// <summary>
    /// Longest sequence that can ever run here: the last token's keys and values are never needed, so a pool of n slots
    /// carries sequences of n + 1 tokens.
    /// </summary>
    public int LongestSequence => (int)Math.Min(ContextLength, ((long)BlockSize * BlockCount) + 1);

    /// <summary>Blocks that a number of tokens occupy.</summary>
    public int BlocksFor(int tokens) => (tokens + BlockSize - 1) / BlockSize;

    internal void ThrowIfInconsistent()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxSequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxBatchedTokens, MaxSequences);
        ArgumentOutOfRangeException.ThrowIfNegative(MaxWaiting);
        ArgumentOutOfRangeException.ThrowIfLessThan(ContextLength, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(BlockSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(BlockCount, 1);
    }
}
