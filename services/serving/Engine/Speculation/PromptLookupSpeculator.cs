using Platform.Core.Deployments;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Core.Speculation;

namespace Platform.Serving.Engine.Speculation;

/// <summary>Guesses from what followed the same tokens before.</summary>
internal sealed class PromptLookupSpeculator(SpeculativeOptions options) : ISpeculator
{
    private readonly int[] _drafts = new int[options.NumSpeculativeTokens];

    public int MostTokens => _drafts.Length;

    public void Propose(IterationScheduler scheduler, int streams, IReadOnlyDictionary<long, ChoiceOutput> choices)
    {
        var most = CheapRows.PerStream(streams, _drafts.Length);
        for (var i = 0; i < scheduler.Running.Count; i++)
        {
            var sequence = scheduler.Running[i];
            if (sequence.PendingTokens != 1)
                continue;
            var drafts = _drafts.AsSpan(0, Math.Min(choices[sequence.Id].DraftLength, most));
            var found = PromptLookup.Guess(sequence.Tokens, options.PromptLookupMin, options.PromptLookupMax, drafts);
            scheduler.Propose(sequence, drafts[..found]);
        }
    }

    public void Complete(IterationPlan plan, IReadOnlyDictionary<long, ChoiceOutput> choices)
    {
        // The guesses were there before the plan.
    }

    public void Dispose()
    {
        // Nothing is held.
    }
}
