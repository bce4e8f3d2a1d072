namespace Platform.Serving.Core.Output;

/// <summary>Why a choice ended.</summary>
public enum FinishReason
{
    /// <summary>A stop string, a stop token or the model's end of text.</summary>
    Stop,

    /// <summary>The longest output asked for, or possible, was reached.</summary>
    Length,

    /// <summary>The client went away or the replica stops.</summary>
    Cancelled,

    /// <summary>The engine failed.</summary>
    Error,
}

/// <summary>When a choice's output ends.</summary>
/// <param name="StopTokens">Tokens that end it and are not part of its text.</param>
/// <param name="MaxTokens">Most tokens of output; at least 1.</param>
/// <param name="StopStrings">Texts that end it and are not shown.</param>
public sealed record StopConditions(IReadOnlySet<int> StopTokens, int MaxTokens, IReadOnlyList<string> StopStrings);
