using System.Runtime.InteropServices;
using Platform.Serving.Core.Blocks;

namespace Platform.Serving.Core.Scheduling;

/// <summary>Where a sequence is in its life.</summary>
public enum SequencePhase
{
    /// <summary>It holds no blocks and waits for its turn, for the first time or after a preemption.</summary>
    Waiting,

    /// <summary>It holds blocks and takes part in iterations.</summary>
    Running,

    /// <summary>It ended or was aborted; it holds nothing.</summary>
    Ended,
}

/// <summary>
/// One stream of tokens: a choice of a request. Owned and changed by <see cref="IterationScheduler"/> only. Its computed
/// tokens (those whose keys and values are in its blocks) chase its total; when they have caught up, a token is sampled.
/// </summary>
public sealed class SequenceState
{
    private readonly List<int> _tokens;

    internal SequenceState(SequenceRequest request, long arrival)
    {
        Id = request.Id;
        Arrival = arrival;
        Salt = request.Salt;
        Adapter = request.Adapter;
        NeedsEveryToken = request.NeedsEveryToken;
        MaxTotalTokens = request.MaxTotalTokens;
        PromptLength = request.PromptLength;
        _tokens = new List<int>(request.Tokens.Length + 16);
        _tokens.AddRange(request.Tokens.Span);
    }

    /// <summary>Identity, given by the caller.</summary>
    public long Id { get; }

    /// <summary>Order of arrival; the highest is the youngest.</summary>
    public long Arrival { get; }

    /// <summary>Keeps tenants' prefixes apart.</summary>
    public string Salt { get; }

    /// <summary>Number of the adapter that it is computed with; 0 for the model itself.</summary>
    public int Adapter { get; }

    /// <summary>Tokens of the prompt; the rest of <see cref="Tokens"/> was produced.</summary>
    public int PromptLength { get; }

    /// <summary>Prompt and output together never grow beyond this.</summary>
    public int MaxTotalTokens { get; }

    /// <summary>Prompt and produced tokens; valid until the next one is produced.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(_tokens);

    /// <summary>Produced tokens; valid until the next one is produced.</summary>
    public ReadOnlySpan<int> Produced => Tokens[PromptLength..];

    /// <summary>Blocks that hold its keys and values, in order of position.</summary>
    public ReadOnlySpan<int> Blocks => CollectionsMarshal.AsSpan(BlockList);

    /// <summary>Guesses of the tokens that follow, which the next iteration checks together with the newest token.</summary>
    public ReadOnlySpan<int> Drafts => CollectionsMarshal.AsSpan(DraftList);

    /// <summary>Tokens whose keys and values are in its blocks.</summary>
    public int ComputedTokens { get; internal set; }

    /// <summary>Tokens still to be computed before the next one can be sampled.</summary>
    public int PendingTokens => _tokens.Count - ComputedTokens;

    /// <summary>Where it is in its life.</summary>
    public SequencePhase Phase { get; internal set; }

    /// <summary>Prompt tokens found in the prefix cache when it first started.</summary>
    public int CachedPromptTokens { get; internal set; }

    /// <summary>Times it lost its blocks to older sequences.</summary>
    public int Preemptions { get; internal set; }

    internal List<int> BlockList { get; } = [];

    internal List<int> DraftList { get; } = [];

    internal List<BlockHash> Hashes { get; } = [];

    /// <summary>Every token must be computed, so nothing is taken from the prefix cache.</summary>
    internal bool NeedsEveryToken { get; }

    internal bool HasStarted { get; set; }

    internal int PublishedBlocks { get; set; }

    internal void Append(int token) => _tokens.Add(token);
}

/// <summary>A sequence to be scheduled.</summary>
/// <param name="Id">Identity, unique among live sequences.</param>
/// <param name="Tokens">Prompt, followed by tokens already produced elsewhere.</param>
/// <param name="PromptLength">Tokens of the prompt among them; at least 1.</param>
/// <param name="MaxTotalTokens">Most tokens of prompt and output together.</param>
/// <param name="Salt">Keeps tenants' prefixes apart.</param>
/// <param name="NeedsEveryToken">Take nothing from the prefix cache, because the hidden states of all tokens are wanted.</param>
/// <param name="Adapter">Number of the adapter that it is computed with; 0 for the model itself.</param>
public sealed record SequenceRequest(
    long Id, ReadOnlyMemory<int> Tokens, int PromptLength, int MaxTotalTokens, string Salt, bool NeedsEveryToken = false, int Adapter = 0);
