using Platform.Serving.Core.Output;
using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Engine;

/// <summary>Is told what the engine does, on the engine's thread.</summary>
internal interface IEngineObserver
{
    /// <summary>An iteration ended.</summary>
    /// <param name="scheduler">Its counters.</param>
    /// <param name="plan">What was computed.</param>
    /// <param name="produced">Tokens sampled.</param>
    /// <param name="snapshot">How busy the engine is after it.</param>
    void Iterated(IterationScheduler scheduler, IterationPlan plan, int produced, EngineSnapshot snapshot);

    /// <summary>There is nothing to do.</summary>
    void Idle(EngineSnapshot snapshot);

    /// <summary>A choice got its first token.</summary>
    /// <param name="seconds">Time since its request was submitted.</param>
    void FirstToken(double seconds);

    /// <summary>A choice ended.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="seconds">Time since its request was submitted.</param>
    /// <param name="outputSeconds">Time from its first token to its last.</param>
    /// <param name="tokens">Tokens it produced.</param>
    void Finished(FinishReason reason, double seconds, double outputSeconds, int tokens);
}
