using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Engine.Speculation;

/// <summary>
/// Guesses tokens that streams will produce next, so that one iteration checks several. Guesses decide how fast an output
/// comes, never what it is. Called on the engine's thread, once around each plan.
/// </summary>
internal interface ISpeculator : IDisposable
{
    /// <summary>Most tokens guessed at once for one sequence.</summary>
    int MostTokens { get; }

    /// <summary>Before the plan: offers guesses, or as many tokens in their place as will be guessed after it.</summary>
    /// <param name="scheduler">Takes the offers.</param>
    /// <param name="streams">Running sequences that only need their newest token.</param>
    /// <param name="choices">Outputs by their sequences' ids.</param>
    void Propose(IterationScheduler scheduler, int streams, IReadOnlyDictionary<long, ChoiceOutput> choices);

    /// <summary>After the plan, before it is carried out: puts the guesses where the plan has room for them.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="choices">Outputs by their sequences' ids.</param>
    void Complete(IterationPlan plan, IReadOnlyDictionary<long, ChoiceOutput> choices);
}

/// <summary>How many guesses an iteration can check at little cost.</summary>
internal static class CheapRows
{
    // Up to here, weights take longer to read than to use.
    private const int Count = 28;

    /// <summary>Most guesses per stream.</summary>
    /// <param name="streams">Streams; at least 1.</param>
    /// <param name="most">Most that are wanted.</param>
    public static int PerStream(int streams, int most) => Math.Clamp((Count / streams) - 1, 0, most);
}
