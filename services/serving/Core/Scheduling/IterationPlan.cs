using System.Runtime.InteropServices;

namespace Platform.Serving.Core.Scheduling;

/// <summary>Tokens of one sequence that an iteration computes: positions <c>Start</c> to <c>Start + Count - 1</c>.</summary>
/// <param name="Sequence">The sequence; its blocks cover these positions.</param>
/// <param name="Start">First position.</param>
/// <param name="Count">Number of positions; at least 1.</param>
/// <param name="Drafts">How many of the positions up to the last one hold guesses (<see cref="SequenceState.Drafts"/>) instead of tokens.</param>
public readonly record struct ScheduledSpan(SequenceState Sequence, int Start, int Count, int Drafts = 0)
{
    /// <summary>
    /// Whether the span reaches the sequence's last token, so that a token is to be sampled from that row and, as long as the
    /// guesses turn out right, from those of the guesses.
    /// </summary>
    public bool Samples => Start + Count - Drafts == Sequence.Tokens.Length;
}

/// <summary>What one iteration computes. Valid until the scheduler plans the next.</summary>
public sealed class IterationPlan
{
    private readonly List<ScheduledSpan> _spans = [];
    private readonly List<SequenceState> _preempted = [];

    /// <summary>Spans, those of one token first.</summary>
    public ReadOnlySpan<ScheduledSpan> Spans => CollectionsMarshal.AsSpan(_spans);

    /// <summary>Sequences that lost their blocks to make room.</summary>
    public IReadOnlyList<SequenceState> Preempted => _preempted;

    /// <summary>Tokens of all spans.</summary>
    public int TokenCount { get; private set; }

    /// <summary>Nothing to compute.</summary>
    public bool IsEmpty => _spans.Count == 0;

    internal void Clear()
    {
        _spans.Clear();
        _preempted.Clear();
        TokenCount = 0;
    }

    internal void Add(SequenceState sequence, int count, int drafts = 0)
    {
        _spans.Add(new ScheduledSpan(sequence, sequence.ComputedTokens, count, drafts));
        TokenCount += count;
    }

    internal void AddPreempted(SequenceState sequence) => _preempted.Add(sequence);
}

/// <summary>The token sampled for a sequence.</summary>
/// <param name="Sequence">A sequence whose span sampled.</param>
/// <param name="TokenId">The token.</param>
/// <param name="Ends">The sequence ends with this token.</param>
public readonly record struct SampledToken(SequenceState Sequence, int TokenId, bool Ends);
