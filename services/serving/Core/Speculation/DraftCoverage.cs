using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Core.Speculation;

/// <summary>
/// Which keys and values of a draft model are in the cache. The draft model's cache has the blocks of the served model's: a
/// sequence's tokens lie in the same blocks in both, so whoever shares, frees or is given a block does so in both. But the
/// draft model computes later, and only where guesses are wanted; this counts how far it has come in each block. Keys and
/// values are a function of the tokens alone, so it does not matter which of a block's owners has them computed.
/// </summary>
/// <param name="blockCount">Blocks of the cache.</param>
/// <param name="blockSize">Tokens per block.</param>
public sealed class DraftCoverage(int blockCount, int blockSize)
{
    private readonly int[] _filled = new int[blockCount];

    /// <summary>Tokens at the beginning of a sequence that the draft model has computed, counting those of others.</summary>
    public int Of(SequenceState sequence)
    {
        ArgumentNullException.ThrowIfNull(sequence);
        var blocks = sequence.Blocks;
        for (var i = 0; i < blocks.Length; i++)
        {
            if (_filled[blocks[i]] < blockSize)
                return Math.Min((i * blockSize) + _filled[blocks[i]], sequence.ComputedTokens);
        }

        return Math.Min(blocks.Length * blockSize, sequence.ComputedTokens);
    }

    /// <summary>
    /// The served model is about to compute a span: what the draft model computed from its beginning on was of guesses that
    /// turned out wrong, or of the blocks' former owners.
    /// </summary>
    public void Restart(ScheduledSpan span)
    {
        var blocks = span.Sequence.Blocks;
        var index = span.Start / blockSize;
        _filled[blocks[index]] = Math.Min(_filled[blocks[index]], span.Start % blockSize);
        for (index++; index * blockSize < span.Start + span.Count; index++)
            _filled[blocks[index]] = 0;
    }

    /// <summary>The draft model computed a span, which begins at or before the end of what it had.</summary>
    public void Advance(ScheduledSpan span)
    {
        var end = span.Start + span.Count;
        for (var index = span.Start / blockSize; index * blockSize < end; index++)
            _filled[span.Sequence.Blocks[index]] = Math.Min(blockSize, end - (index * blockSize));
    }
}
