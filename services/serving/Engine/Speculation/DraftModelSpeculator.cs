using Platform.Core.Deployments;
using Platform.Serving.Core.Sampling;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Core.Speculation;
using Platform.Serving.Execution;

namespace Platform.Serving.Engine.Speculation;

/// <summary>
/// Guesses with a smaller model (Leviathan et al. 2023). The draft model draws with the very numbers that the served model will
/// draw with, keyed by seed, choice and position, so that where the two models agree on the distribution they agree on the
/// token, whatever the temperature; a guess is right when it is the token that plain decoding would have drawn. The prompt is
/// computed when a stream first wants guesses, a piece per iteration.
/// </summary>
internal sealed class DraftModelSpeculator : ISpeculator
{
    // Tokens that the draft model may lag behind and make up for in one iteration.
    private const int CatchUpRows = 256;

    private readonly IModelExecutor _draft;
    private readonly DraftCoverage _coverage;
    private readonly Sampler _sampler;
    private readonly LogitRows _logits;
    private readonly List<ScheduledSpan> _spans = [];
    private readonly List<ScheduledSpan> _behind = [];
    private readonly int[] _placeholders;
    private readonly int[] _produced;
    private readonly int _rows;
    private readonly int _context;

    /// <summary>Guesses with a model, which is owned from now on.</summary>
    /// <param name="draft">The model; it has the served one's vocabulary and as many cache blocks.</param>
    /// <param name="options">How many tokens to guess.</param>
    /// <param name="limits">Limits of the served model's scheduler.</param>
    public DraftModelSpeculator(IModelExecutor draft, SpeculativeOptions options, SchedulerLimits limits)
    {
        _draft = draft;
        _coverage = new DraftCoverage(limits.BlockCount, limits.BlockSize);
        _sampler = new Sampler(draft.Config.VocabSize);
        _logits = new LogitRows(draft.Config.VocabSize);
        _placeholders = new int[options.NumSpeculativeTokens];
        _produced = new int[limits.ContextLength + options.NumSpeculativeTokens];
        _rows = Math.Min(CatchUpRows, limits.MaxBatchedTokens);
        _context = Math.Min(draft.Config.MaxPositionEmbeddings, limits.LongestSequence);
    }

    public int MostTokens => _placeholders.Length;

    public void Propose(IterationScheduler scheduler, int streams, IReadOnlyDictionary<long, ChoiceOutput> choices)
    {
        _behind.Clear();
        var most = CheapRows.PerStream(streams, _placeholders.Length);
        var room = _rows;
        for (var i = 0; i < scheduler.Running.Count; i++)
        {
            var sequence = scheduler.Running[i];
            if (sequence.PendingTokens != 1 || room == 0)
                continue;
            var position = sequence.ComputedTokens;
            var wanted = Math.Min(Math.Min(choices[sequence.Id].DraftLength, most), _context - position - 1);
            if (wanted <= 0)
                continue;
            var covered = _coverage.Of(sequence);
            var count = Math.Min(room, position + 1 - covered);
            room -= count;
            if (covered + count > position)
                scheduler.Propose(sequence, _placeholders.AsSpan(0, wanted));
            else
                _behind.Add(new ScheduledSpan(sequence, covered, count));
        }
    }

    public void Complete(IterationPlan plan, IReadOnlyDictionary<long, ChoiceOutput> choices)
    {
        _spans.Clear();
        foreach (var span in plan.Spans)
        {
            _coverage.Restart(span);
            if (span.Drafts == 0)
                continue;
            var covered = _coverage.Of(span.Sequence);
            _spans.Add(new ScheduledSpan(span.Sequence, covered, span.Start + 1 - covered));
        }

        var guessing = _spans.Count;
        foreach (var span in _behind)
        {
            if (span.Sequence.Phase == SequencePhase.Running)
                _spans.Add(span);
        }

        for (var guess = 0; _spans.Count > 0; guess++)
        {
            _draft.Run(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_spans), _logits);
            for (var i = 0; i < _spans.Count; i++)
            {
                _coverage.Advance(_spans[i]);
                if (i < guessing)
                    _spans[i].Sequence.DraftList[guess] = Guess(choices[_spans[i].Sequence.Id], guess, _logits[i]);
            }

            // The next guess follows from this one, where another one is wanted.
            _spans.RemoveRange(guessing, _spans.Count - guessing);
            for (var i = _spans.Count - 1; i >= 0; i--)
            {
                if (_spans[i].Sequence.DraftList.Count > guess + 1)
                    _spans[i] = new ScheduledSpan(_spans[i].Sequence, _spans[i].Sequence.Tokens.Length + guess, 1, guess + 1);
                else
                    _spans.RemoveAt(i);
            }

            guessing = _spans.Count;
        }
    }

    public void Dispose() => _draft.Dispose();

    private int Guess(ChoiceOutput choice, int guess, ReadOnlySpan<float> logits)
    {
        var sequence = choice.Sequence;
        var produced = sequence.Produced;
        produced.CopyTo(_produced);
        sequence.Drafts[..guess].CopyTo(_produced.AsSpan(produced.Length));
        return _sampler.Choose(
            logits, sequence.Tokens[..sequence.PromptLength], _produced.AsSpan(0, produced.Length + guess), choice.Choice, choice.GuessSampling).TokenId;
    }
}
