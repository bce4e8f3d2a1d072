using Platform.Serving.Core.Output;
using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Engine;

/// <summary>What an iteration took.</summary>
/// <param name="Streams">Sequences that were producing tokens.</param>
/// <param name="PromptTokens">Prompt tokens computed beside them.</param>
/// <param name="PromptPairs">Sum over those of the tokens each attends to.</param>
/// <param name="PredictedSeconds">What it was expected to take; null when nothing was known.</param>
/// <param name="Seconds">What it took.</param>
internal readonly record struct IterationCost(int Streams, int PromptTokens, long PromptPairs, double? PredictedSeconds, double Seconds);

/// <summary>Is told what the engine does, on the engine's thread.</summary>
internal interface IEngineObserver
{
    /// <summary>An iteration ended.</summary>
    /// <param name="scheduler">Its counters.</param>
    /// <param name="plan">What was computed.</param>
    /// <param name="produced">Tokens sampled.</param>
    /// <param name="snapshot">How busy the engine is after it.</param>
    /// <param name="cost">What it took.</param>
    void Iterated(IterationScheduler scheduler, IterationPlan plan, int produced, EngineSnapshot snapshot, IterationCost cost);

    /// <summary>There is nothing to do.</summary>
    void Idle(EngineSnapshot snapshot);

    /// <summary>A request was taken in.</summary>
    /// <param name="request">The request.</param>
    void Admitted(GenerationRequest request);

    /// <summary>A choice got its first token.</summary>
    /// <param name="times">When things happened to it.</param>
    void FirstToken(ChoiceTimes times);

    /// <summary>A choice got a token after its first.</summary>
    /// <param name="seconds">Time since the token before it.</param>
    void NextToken(double seconds);

    /// <summary>A choice ended.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="times">When things happened to it.</param>
    /// <param name="tokens">Tokens it produced here.</param>
    void Finished(FinishReason reason, ChoiceTimes times, int tokens);

    /// <summary>A request ended with the last of its choices.</summary>
    /// <param name="mostTokens">Tokens that its longest choice produced here.</param>
    void Closed(int mostTokens);

    /// <summary>The model fell asleep.</summary>
    void Slept();

    /// <summary>The model woke.</summary>
    /// <param name="seconds">How long it took.</param>
    void Woke(double seconds);
}
