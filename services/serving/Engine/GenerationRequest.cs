using Platform.Serving.Core.Constraints;
using Platform.Serving.Core.Output;
using Platform.Serving.Core.Sampling;

namespace Platform.Serving.Engine;

/// <summary>A checked request for generation.</summary>
internal sealed record GenerationRequest
{
    /// <summary>Keeps tenants' prefixes apart.</summary>
    public required string Tenant { get; init; }

    /// <summary>Number of the adapter to use; 0 for the model itself.</summary>
    public int Adapter { get; init; }

    /// <summary>Prompt; at least one token.</summary>
    public required int[] Prompt { get; init; }

    /// <summary>Output produced elsewhere, which is continued and not sent again; only with one choice.</summary>
    public int[] Produced { get; init; } = [];

    /// <summary>Independent outputs.</summary>
    public int Choices { get; init; } = 1;

    public required SamplingSettings Sampling { get; init; }

    public required StopConditions Stop { get; init; }

    /// <summary>End when the prompt is computed, and give its embedding instead of a token; null for none.</summary>
    public Pooling? Embedding { get; init; }

    /// <summary>What each output must match; null for anything.</summary>
    public TokenConstraint? Constraint { get; init; }

    /// <summary>End after the first iteration that would sample, and give its logits instead of a token.</summary>
    public bool WantsLogits { get; init; }
}

/// <summary>What one iteration added to one choice.</summary>
/// <param name="Choice">Choice, from 0.</param>
/// <param name="FirstIndex">Index in the choice's output of the first of the tokens.</param>
/// <param name="TokenIds">Tokens; at most one.</param>
/// <param name="Text">Text that can be shown now.</param>
/// <param name="Logprobs">Log probabilities of the token, if they were asked for.</param>
/// <param name="Finish">Why the choice ended, on its last update.</param>
/// <param name="Logits">Logits, or the embedding, if they were asked for.</param>
internal sealed record ChoiceUpdate(
    int Choice, int FirstIndex, IReadOnlyList<int> TokenIds, string Text, TokenLogprobs? Logprobs, FinishReason? Finish, float[]? Logits = null);

/// <summary>Answer of the engine to a request.</summary>
internal abstract record Submission
{
    private Submission()
    {
    }

    /// <summary>The request runs or waits; its updates come through the handle.</summary>
    public sealed record Accepted(ActiveRequest Request) : Submission;

    /// <summary>The queue is full.</summary>
    /// <param name="Live">Sequences that run or wait.</param>
    public sealed record QueueFull(int Live) : Submission;

    /// <summary>It can never run here.</summary>
    public sealed record NeverFits(string Message) : Submission;

    /// <summary>The replica stops.</summary>
    public sealed record Stopping : Submission;
}

/// <summary>How busy an engine is.</summary>
/// <param name="Running">Sequences in progress.</param>
/// <param name="Waiting">Sequences that wait.</param>
/// <param name="OutstandingTokens">Tokens still to be computed, outputs at their longest.</param>
/// <param name="BlocksTotal">Blocks of the cache.</param>
/// <param name="BlocksFree">Those without an owner.</param>
internal sealed record EngineSnapshot(int Running, int Waiting, long OutstandingTokens, int BlocksTotal, int BlocksFree);
