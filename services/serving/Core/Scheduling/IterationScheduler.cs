using Platform.Serving.Core.Blocks;

namespace Platform.Serving.Core.Scheduling;

/// <summary>
/// Continuous batching without phases: every sequence lets its computed tokens chase its total, and each iteration divides
/// one token budget among them. Streams that only need their newest token come first, then prompts in the order of arrival,
/// cut into chunks by the budget. When blocks run out the youngest sequence loses its own and is computed again later, so
/// that nobody fails because others are running. Call <see cref="Plan"/>, carry the plan out, call <see cref="Apply"/>;
/// submissions and aborts may come between any two of these. Not thread-safe.
/// </summary>
public sealed class IterationScheduler
{
    private readonly IterationPlan _plan = new();

    // Both lists are in order of arrival, and everything that runs is older than everything that waits.
    private readonly List<SequenceState> _running = [];
    private readonly List<SequenceState> _waiting = [];
    private long _arrivals;

    /// <summary>A scheduler with an empty cache.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A limit makes no sense.</exception>
    public IterationScheduler(SchedulerLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        limits.ThrowIfInconsistent();
        Limits = limits;
        Pool = new BlockPool(limits.BlockCount);
    }

    /// <summary>Limits it plans within.</summary>
    public SchedulerLimits Limits { get; }

    /// <summary>Blocks and their owners; read only.</summary>
    public BlockPool Pool { get; }

    /// <summary>Sequences that hold blocks, oldest first.</summary>
    public IReadOnlyList<SequenceState> Running => _running;

    /// <summary>Sequences that wait, oldest first.</summary>
    public IReadOnlyList<SequenceState> Waiting => _waiting;

    /// <summary>Whether there is anything to plan.</summary>
    public bool HasWork => _running.Count + _waiting.Count > 0;

    /// <summary>Times a sequence lost its blocks, since the start.</summary>
    public long PreemptionCount { get; private set; }

    /// <summary>Times a sequence had guesses checked, since the start.</summary>
    public long DraftCount { get; private set; }

    /// <summary>Guesses that were checked, since the start.</summary>
    public long DraftedTokens { get; private set; }

    /// <summary>Those that were right and taken, since the start.</summary>
    public long AcceptedTokens { get; private set; }

    /// <summary>Tokens looked up in the prefix cache, since the start.</summary>
    public long PrefixQueriedTokens { get; private set; }

    /// <summary>Tokens found there, since the start.</summary>
    public long PrefixHitTokens { get; private set; }

    /// <summary>Takes the sequences of one request in, all or none.</summary>
    public Admission Submit(params IReadOnlyList<SequenceRequest> requests)
    {
        ArgumentNullException.ThrowIfNull(requests);
        foreach (var request in requests)
        {
            if (Objection(request) is { } message)
                return new Admission.NeverFits(message);
        }

        var live = _running.Count + _waiting.Count;
        if (live + requests.Count > Limits.MaxSequences + Limits.MaxWaiting)
            return new Admission.QueueFull(live);
        var sequences = new SequenceState[requests.Count];
        for (var i = 0; i < sequences.Length; i++)
            _waiting.Add(sequences[i] = new SequenceState(requests[i], _arrivals++));
        return new Admission.Accepted(sequences);
    }

    /// <summary>Decides what the next iteration computes and gives out the blocks for it.</summary>
    /// <param name="promptBudget">
    /// Most tokens spent on spans of more than one token, within <see cref="SchedulerLimits.MaxBatchedTokens"/>; at least 1.
    /// This is how the caller paces prompts against running streams.
    /// </param>
    /// <returns>The plan, which is empty only when nothing runs or waits.</returns>
    public IterationPlan Plan(int promptBudget)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(promptBudget, 1);
        _plan.Clear();
        PlanStreams();
        var budget = Math.Min(promptBudget, Limits.MaxBatchedTokens - _plan.TokenCount);
        foreach (var sequence in _running)
        {
            if (budget == 0)
                break;
            if (sequence.PendingTokens > 1)
                PlanPrompt(sequence, ref budget);
        }

        // Blocks that a preemption freed are for the sequences that asked for them.
        if (_plan.Preempted.Count == 0)
            Admit(ref budget);
        return _plan;
    }

    /// <summary>
    /// Offers guesses of the tokens that follow a running sequence's newest one. The next plan takes as many as there is room
    /// for, never at the expense of another sequence, and forgets the rest.
    /// </summary>
    public void Propose(SequenceState sequence, ReadOnlySpan<int> drafts)
    {
        ArgumentNullException.ThrowIfNull(sequence);
        sequence.DraftList.Clear();
        if (sequence.Phase == SequencePhase.Running && sequence.PendingTokens == 1)
            sequence.DraftList.AddRange(drafts);
    }

    /// <summary>Records that a plan was carried out.</summary>
    /// <param name="plan">The last plan.</param>
    /// <param name="sampled">
    /// For every span that samples, except those of sequences that were aborted meanwhile, its tokens in order: one, and
    /// another for each guess that was right.
    /// </param>
    /// <exception cref="InvalidOperationException">A token came for a sequence that cannot take one.</exception>
    public void Apply(IterationPlan plan, ReadOnlySpan<SampledToken> sampled)
    {
        RecordComputed(plan);
        foreach (var (sequence, token, ends) in sampled)
            Append(sequence, token, ends);
    }

    /// <summary>Records that a plan's spans were computed; <see cref="Append"/> follows for each token sampled from them.</summary>
    public void RecordComputed(IterationPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        foreach (var span in plan.Spans)
        {
            if (span.Sequence.Phase != SequencePhase.Running)
                continue;
            span.Sequence.ComputedTokens = span.Start + span.Count - span.Drafts;
            DraftedTokens += span.Drafts;
            DraftCount += span.Drafts > 0 ? 1 : 0;
            PublishFullBlocks(span.Sequence);
        }
    }

    /// <summary>Records a token sampled from the last plan.</summary>
    /// <param name="sequence">Sequence; nothing happens when it was aborted.</param>
    /// <param name="token">Token.</param>
    /// <param name="ends">The sequence ends with it.</param>
    /// <exception cref="InvalidOperationException">The sequence cannot take a token.</exception>
    public void Append(SequenceState sequence, int token, bool ends)
    {
        ArgumentNullException.ThrowIfNull(sequence);
        if (sequence.Phase != SequencePhase.Running)
            return;
        if (sequence.PendingTokens == 1 && sequence.DraftList.Count > 0 && sequence.DraftList[0] == sequence.Tokens[^1])
        {
            // The token before this one was a right guess, so its keys and values are in the cache already.
            sequence.DraftList.RemoveAt(0);
            sequence.ComputedTokens++;
            AcceptedTokens++;
        }

        if (sequence.PendingTokens != 0)
            throw new InvalidOperationException(
                $"Sequence {sequence.Id} has {sequence.PendingTokens} tokens to compute and cannot take a sampled one.");
        sequence.Append(token);
        if (ends)
            End(sequence);
        else if (sequence.Tokens.Length >= sequence.MaxTotalTokens)
            throw new InvalidOperationException(
                $"Sequence {sequence.Id} has reached its {sequence.MaxTotalTokens} tokens and must end.");
    }

    /// <summary>Ends a sequence now and frees its blocks. Harmless when it has ended already.</summary>
    public void Abort(SequenceState sequence)
    {
        ArgumentNullException.ThrowIfNull(sequence);
        if (sequence.Phase != SequencePhase.Ended)
            End(sequence);
    }

    /// <summary>Forgets what blocks hold, because the cache's memory is given up.</summary>
    /// <exception cref="InvalidOperationException">Sequences are running.</exception>
    public void ForgetPrefixes() => Pool.Forget();

    private string? Objection(SequenceRequest request)
    {
        if (request.PromptLength < 1 || request.PromptLength > request.Tokens.Length)
            return $"Expected a prompt of at least one token, found {request.PromptLength}.";
        if (request.MaxTotalTokens > Limits.ContextLength)
            return $"The request asks for {request.MaxTotalTokens} tokens ({request.PromptLength} of prompt and "
                + $"{request.MaxTotalTokens - request.PromptLength} of output), but the model's context is {Limits.ContextLength} tokens.";
        if (request.MaxTotalTokens > Limits.LongestSequence)
            return $"The request asks for {request.MaxTotalTokens} tokens, but the key/value cache of this replica holds at most "
                + $"{Limits.LongestSequence}; raise engine_config.kv_cache_bytes or ask for less.";
        if (request.Tokens.Length >= request.MaxTotalTokens)
            return $"The request has {request.Tokens.Length} tokens and may reach {request.MaxTotalTokens}: no room is left for output.";
        return null;
    }

    private void PlanStreams()
    {
        // Victims are always younger than the sequence that asks, so none of them is in the plan already.
        for (var i = 0; i < _running.Count; i++)
        {
            var sequence = _running[i];
            if (sequence.PendingTokens != 1 || !TryCover(sequence))
                continue;
            // Every stream after this one is still to get its place.
            var drafts = CoverDrafts(sequence, Limits.MaxBatchedTokens - _plan.TokenCount - (_running.Count - i));
            _plan.Add(sequence, 1 + drafts, drafts);
        }
    }

    /// <summary>Gives guesses the blocks they need, as long as that takes none from anybody, and forgets those without one.</summary>
    private int CoverDrafts(SequenceState sequence, int room)
    {
        var drafts = Math.Clamp(Math.Min(room, sequence.MaxTotalTokens - sequence.Tokens.Length - 1), 0, sequence.DraftList.Count);
        while (drafts > 0 && sequence.BlockList.Count * Limits.BlockSize < sequence.ComputedTokens + 1 + drafts)
        {
            if (Pool.FreeCount > _running.Count && Pool.TryAllocate() is { } block)
                sequence.BlockList.Add(block);
            else
                drafts = Math.Max(0, (sequence.BlockList.Count * Limits.BlockSize) - sequence.ComputedTokens - 1);
        }

        sequence.DraftList.RemoveRange(drafts, sequence.DraftList.Count - drafts);
        return drafts;
    }

    private bool TryCover(SequenceState sequence)
    {
        while (sequence.BlockList.Count * Limits.BlockSize <= sequence.ComputedTokens)
        {
            if (Pool.TryAllocate() is { } block)
            {
                sequence.BlockList.Add(block);
                continue;
            }

            var youngest = _running[^1];
            Preempt(youngest);
            if (youngest == sequence)
                return false;
        }

        return true;
    }

    private void PlanPrompt(SequenceState sequence, ref int budget)
    {
        var count = Math.Min(sequence.PendingTokens, budget);
        _plan.Add(sequence, count);
        budget -= count;
    }

    private void Admit(ref int budget)
    {
        var admitted = 0;
        while (budget > 0 && admitted < _waiting.Count && _running.Count < Limits.MaxSequences)
        {
            var sequence = _waiting[admitted];
            if (!TryStart(sequence))
                break;
            admitted++;
            _running.Add(sequence);
            PlanPrompt(sequence, ref budget);
        }

        _waiting.RemoveRange(0, admitted);
    }

    /// <summary>Gives a waiting sequence the blocks of all tokens it has, shared ones where the prefix is known.</summary>
    private bool TryStart(SequenceState sequence)
    {
        if (Limits.PrefixCaching && !sequence.NeedsEveryToken)
            ShareKnownPrefix(sequence);
        var missing = Limits.BlocksFor(sequence.Tokens.Length) - sequence.BlockList.Count;
        // Each running stream may soon need a block; without this reserve a newcomer would be evicted at once.
        var reserve = Math.Min(_running.Count, Pool.TotalCount / 16);
        if (Pool.FreeCount < missing + reserve)
        {
            ReleaseBlocks(sequence);
            return false;
        }

        for (var i = 0; i < missing; i++)
        {
            if (Pool.TryAllocate() is { } block)
                sequence.BlockList.Add(block);
        }

        var hits = sequence.ComputedTokens;
        if (!sequence.HasStarted)
        {
            sequence.HasStarted = true;
            sequence.CachedPromptTokens = Math.Min(hits, sequence.PromptLength);
            PrefixQueriedTokens += Limits.PrefixCaching ? sequence.Tokens.Length : 0;
            PrefixHitTokens += hits;
        }

        sequence.Phase = SequencePhase.Running;
        return true;
    }

    private void ShareKnownPrefix(SequenceState sequence)
    {
        // The last token is always computed: its logits are what is sampled from.
        var shareable = (sequence.Tokens.Length - 1) / Limits.BlockSize;
        for (var i = 0; i < shareable; i++)
        {
            if (Pool.TryShare(HashOf(sequence, i)) is not { } block)
                break;
            sequence.BlockList.Add(block);
        }

        sequence.ComputedTokens = sequence.BlockList.Count * Limits.BlockSize;
    }

    private void PublishFullBlocks(SequenceState sequence)
    {
        if (!Limits.PrefixCaching)
            return;
        for (var i = sequence.PublishedBlocks; i < sequence.ComputedTokens / Limits.BlockSize; i++)
        {
            Pool.Publish(sequence.BlockList[i], HashOf(sequence, i));
            sequence.PublishedBlocks = i + 1;
        }
    }

    private BlockHash HashOf(SequenceState sequence, int index)
    {
        while (sequence.Hashes.Count <= index)
        {
            var i = sequence.Hashes.Count;
            var parent = i == 0 ? BlockHash.Root(sequence.Salt, sequence.Adapter) : sequence.Hashes[i - 1];
            sequence.Hashes.Add(parent.Next(sequence.Tokens.Slice(i * Limits.BlockSize, Limits.BlockSize)));
        }

        return sequence.Hashes[index];
    }

    private void Preempt(SequenceState sequence)
    {
        _running.RemoveAt(_running.Count - 1);
        ReleaseBlocks(sequence);
        sequence.Phase = SequencePhase.Waiting;
        sequence.Preemptions++;
        PreemptionCount++;
        _waiting.Insert(0, sequence);
        _plan.AddPreempted(sequence);
    }

    private void End(SequenceState sequence)
    {
        _ = sequence.Phase == SequencePhase.Running ? _running.Remove(sequence) : _waiting.Remove(sequence);
        ReleaseBlocks(sequence);
        sequence.Phase = SequencePhase.Ended;
    }

    private void ReleaseBlocks(SequenceState sequence)
    {
        // From the end: the beginning of a sequence is what others most likely share, so it should be forgotten last.
        for (var i = sequence.BlockList.Count - 1; i >= 0; i--)
            Pool.Release(sequence.BlockList[i]);
        sequence.BlockList.Clear();
        sequence.DraftList.Clear();
        sequence.ComputedTokens = 0;
        sequence.PublishedBlocks = 0;
    }
}
