using Platform.Core.Models;
using Platform.Serving.Core.Constraints;
using Platform.Serving.Core.Output;
using Platform.Serving.Core.Sampling;
using Platform.Serving.Core.Scheduling;
using Platform.Text.Tokenization;

namespace Platform.Serving.Engine;

/// <summary>The output side of one choice: turns its tokens into text and decides when it ends.</summary>
internal sealed class ChoiceOutput
{
    private readonly StreamingDecoder _decoder;
    private readonly StopStringMatcher _matcher;
    private readonly ITextTokenizer _tokenizer;
    private int _count;

    public ChoiceOutput(ActiveRequest owner, int choice, SequenceState sequence, ITextTokenizer tokenizer, ModelConfig config)
    {
        Owner = owner;
        Choice = choice;
        Sequence = sequence;
        GuessSampling = owner.Request.Sampling is { TopLogprobs: not null } sampling ? sampling with { TopLogprobs = null } : owner.Request.Sampling;
        _decoder = new StreamingDecoder(tokenizer);
        _matcher = new StopStringMatcher(owner.Request.Stop.StopStrings);
        _tokenizer = tokenizer;
        if (owner.Request.Embedding is { } pooling)
            Embedding = new EmbeddingPool(pooling, config.HiddenSize);
        if (owner.Request.Constraint is { } constraint)
            Constraint = new ConstraintCursor(constraint, config.VocabSize);
        // What was produced elsewhere was shown there; the state it leaves behind is needed here.
        foreach (var token in owner.Request.Produced)
        {
            _matcher.Push(_decoder.Append(token));
            Constraint?.Take(tokenizer.TokenBytes(token));
        }

        _count = owner.Request.Produced.Length;
    }

    public ActiveRequest Owner { get; }

    /// <summary>What may follow, where the output must match something.</summary>
    public ConstraintCursor? Constraint { get; }

    public int Choice { get; }

    public SequenceState Sequence { get; }

    /// <summary>Timestamp of the first iteration it took part in; null before it.</summary>
    public long? StartedAt { get; set; }

    /// <summary>Timestamp of the first token; null before it.</summary>
    public long? FirstTokenAt { get; set; }

    /// <summary>Timestamp of the last token; meaningless before the first.</summary>
    public long LastTokenAt { get; set; }

    /// <summary>Tokens produced here.</summary>
    public int ProducedHere => _count - Owner.Request.Produced.Length;

    /// <summary>Parts of its life until now.</summary>
    public ChoiceTimes Times(TimeProvider time, long now)
    {
        var started = StartedAt ?? now;
        var first = FirstTokenAt ?? now;
        return new(
            time.GetElapsedTime(Owner.SubmittedAt, started).TotalSeconds, time.GetElapsedTime(started, first).TotalSeconds,
            time.GetElapsedTime(first, now).TotalSeconds);
    }

    /// <summary>How a draft model chooses: as the request says, without figures that nobody sees.</summary>
    public SamplingSettings GuessSampling { get; }

    /// <summary>How many tokens to guess next.</summary>
    public int DraftLength { get; private set; } = 2;

    /// <summary>Guesses more where guesses are right and fewer where they are not.</summary>
    /// <param name="right">Guesses that were right.</param>
    /// <param name="drafts">Guesses.</param>
    /// <param name="most">Most guesses.</param>
    public void Judge(int right, int drafts, int most)
    {
        if (drafts > 0)
            DraftLength = right == drafts ? Math.Min(most, 2 * DraftLength) : Math.Max(1, right + 1);
    }

    /// <summary>The embedding in the making, where one is wanted.</summary>
    public EmbeddingPool? Embedding { get; }

    /// <summary>Takes the next token in.</summary>
    public ChoiceUpdate Take(Sample sample)
    {
        var stop = Owner.Request.Stop;
        var index = _count++;
        FinishReason? finish = null;
        string text;
        if (stop.StopTokens.Contains(sample.TokenId))
        {
            text = Rest();
            finish = FinishReason.Stop;
        }
        else
        {
            text = _matcher.Push(_decoder.Append(sample.TokenId));
            Constraint?.Take(_tokenizer.TokenBytes(sample.TokenId));
            if (_matcher.IsStopped)
            {
                finish = FinishReason.Stop;
            }
            else if (Constraint is { IsComplete: true } || _count >= stop.MaxTokens)
            {
                text += Rest();
                finish = _matcher.IsStopped || Constraint is { IsComplete: true } ? FinishReason.Stop : FinishReason.Length;
            }
        }

        return new ChoiceUpdate(Choice, index, [sample.TokenId], text, sample.Logprobs, finish);
    }

    /// <summary>Ends the choice from outside.</summary>
    public ChoiceUpdate End(FinishReason reason) => new(Choice, _count, [], Rest(), null, reason);

    private string Rest() => _matcher.Push(_decoder.Flush()) + _matcher.Flush();
}
