using System.Threading.Channels;
using Platform.Core.Models;
using Platform.Serving.Core.Constraints;
using Platform.Serving.Core.Output;
using Platform.Serving.Core.Sampling;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Engine.Speculation;
using Platform.Serving.Execution;
using Platform.Text.Tokenization;

namespace Platform.Serving.Engine;

/// <summary>
/// The thread that runs a model: takes requests in, drops those whose callers left, plans, computes, samples, hands out.
/// Nothing but this thread touches the scheduler and the executor.
/// </summary>
internal sealed partial class EngineLoop : IDisposable
{
    private const int CommandCapacity = 4096;

    private readonly ModelConfig _config;
    private IModelExecutor _executor;
    private readonly IterationScheduler _scheduler;
    private readonly ITextTokenizer _tokenizer;
    private readonly PromptPacing _pacing;
    private readonly IEngineObserver _observer;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Channel<Command> _commands = Channel.CreateBounded<Command>(new BoundedChannelOptions(CommandCapacity) { SingleReader = true });
    private readonly SemaphoreSlim _wake = new(0);
    private readonly Dictionary<long, ChoiceOutput> _choices = [];
    private readonly List<ActiveRequest> _active = [];
    private readonly Sampler _sampler;
    private readonly LogitRows _logits;
    private readonly Thread _thread;
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ISpeculator? _speculator;
    private readonly int[] _drafts;
    private readonly float[] _hidden;
    private long _nextSequence;
    private int _produced;
    private volatile bool _draining;
    private volatile bool _closing;
    private volatile EngineSnapshot _snapshot;

    public EngineLoop(
        IModelExecutor executor, SchedulerLimits limits, PromptPacing pacing, ITextTokenizer tokenizer, IEngineObserver observer,
        TimeProvider time, ILogger logger, ISpeculator? speculator = null, SleepSettings? sleep = null)
    {
        _speculator = speculator;
        _drafts = new int[speculator?.MostTokens ?? 0];
        _executor = executor;
        _sleep = sleep;
        _config = executor.Config;
        _hidden = new float[executor.Config.HiddenSize];
        _scheduler = new IterationScheduler(limits);
        _pacing = pacing;
        _tokenizer = tokenizer;
        _observer = observer;
        _time = time;
        _logger = logger;
        _sampler = new Sampler(executor.Config.VocabSize);
        _logits = new LogitRows(executor.Config.VocabSize);
        _snapshot = Observe();
        BeginStay();
        _thread = new Thread(Loop) { IsBackground = true, Name = "engine" };
        _thread.Start();
    }

    private sealed record Command(GenerationRequest Request, TaskCompletionSource<Submission> Answer);

    /// <summary>Limits it schedules within.</summary>
    public SchedulerLimits Limits => _scheduler.Limits;

    /// <summary>How busy it was after the last iteration.</summary>
    public EngineSnapshot Snapshot => _snapshot;

    /// <summary>Whether it takes requests.</summary>
    public bool IsAccepting => !_draining && !_closing;

    /// <summary>Hands a request to the engine, which answers before its next iteration.</summary>
    public Task<Submission> SubmitAsync(GenerationRequest request)
    {
        var command = new Command(request, new TaskCompletionSource<Submission>(TaskCreationOptions.RunContinuationsAsynchronously));
        if (_closing || _draining)
            return Task.FromResult<Submission>(new Submission.Stopping());
        if (!_commands.Writer.TryWrite(command))
            return Task.FromResult<Submission>(_closing ? new Submission.Stopping() : new Submission.QueueFull(CommandCapacity));
        Wake();
        return command.Answer.Task;
    }

    /// <summary>Takes no more requests, lets those in progress end, and after the grace cancels the rest.</summary>
    public async Task DrainAsync(TimeSpan grace)
    {
        _draining = true;
        Wake();
        try
        {
            await _idle.Task.WaitAsync(grace, _time);
        }
        catch (TimeoutException)
        {
            LogGraceOver(_logger, grace.TotalSeconds);
        }
    }

    /// <summary>Cancels what is in progress and ends the thread.</summary>
    public void Dispose()
    {
        if (_closing)
            return;
        _closing = true;
        Wake();
        _thread.Join();
        _speculator?.Dispose();
        if (!_isAsleep)
            _executor.Dispose();
        _wake.Dispose();
    }

    private void Wake()
    {
        try
        {
            if (_wake.CurrentCount == 0)
                _wake.Release();
        }
        catch (ObjectDisposedException)
        {
            // The engine has ended, and with it everything that could be woken for.
        }
    }

    private void Loop()
    {
        while (!_closing)
        {
            TakeRequests();
            DropCancelled();
            if (!_scheduler.HasWork)
            {
                _snapshot = Observe();
                _observer.Idle(_snapshot);
                if (_draining)
                    _idle.TrySetResult();
                WaitForWork();
                continue;
            }

            if (IsAwake())
                Iterate();
        }

        _commands.Writer.TryComplete();
        while (_commands.Reader.TryRead(out var command))
            command.Answer.SetResult(new Submission.Stopping());
        foreach (var request in _active.ToArray())
            EndAll(request, FinishReason.Cancelled);
        _snapshot = Observe();
        _idle.TrySetResult();
    }

    private void TakeRequests()
    {
        while (!_askedToSleep && _commands.Reader.TryRead(out var command))
            command.Answer.SetResult(_draining ? new Submission.Stopping() : Admit(command.Request));
    }

    private Submission Admit(GenerationRequest request)
    {
        var tokens = (int[])[.. request.Prompt, .. request.Produced];
        var longest = Math.Min(request.Stop.MaxTokens, _scheduler.Limits.ContextLength);
        var sequences = new SequenceRequest[request.Choices];
        for (var i = 0; i < sequences.Length; i++)
            sequences[i] = new(_nextSequence++, tokens, request.Prompt.Length, request.Prompt.Length + request.Stop.MaxTokens, request.Tenant, request.Embedding is not null, request.Adapter);
        switch (_scheduler.Submit(sequences))
        {
            case Admission.Accepted accepted:
                var active = new ActiveRequest(request, longest, _time.GetTimestamp(), Wake);
                _active.Add(active);
                for (var i = 0; i < sequences.Length; i++)
                    _choices.Add(sequences[i].Id, new ChoiceOutput(active, i, accepted.Sequences[i], _tokenizer, _config));
                _observer.Admitted(request);
                NoteWork();
                return new Submission.Accepted(active);
            case Admission.QueueFull full:
                return new Submission.QueueFull(full.Live);
            case Admission.NeverFits never:
                return new Submission.NeverFits(never.Message);
            default:
                throw new InvalidOperationException("An admission has three outcomes.");
        }
    }

    private void DropCancelled()
    {
        for (var i = _active.Count - 1; i >= 0; i--)
        {
            if (_active[i].IsCancelled)
                EndAll(_active[i], FinishReason.Cancelled);
        }
    }

    private void Iterate()
    {
        var started = _time.GetTimestamp();
        var (streams, context) = (0, 0);
        for (var i = 0; i < _scheduler.Running.Count; i++)
        {
            var sequence = _scheduler.Running[i];
            if (sequence.PendingTokens == 1)
                streams++;
            else
                context = Math.Max(context, sequence.ComputedTokens);
        }

        if (streams > 0)
            _speculator?.Propose(_scheduler, streams, _choices);
        var plan = _scheduler.Plan(_pacing.Budget(streams, context));
        foreach (var span in plan.Spans)
            _choices[span.Sequence.Id].StartedAt ??= started;
        try
        {
            _speculator?.Complete(plan, _choices);
            _executor.Run(plan.Spans, _logits);
        }
        catch (Exception exception)
        {
            LogIterationFailed(_logger, exception, plan.Spans.Length);
            foreach (var span in plan.Spans)
            {
                if (_choices.TryGetValue(span.Sequence.Id, out var failed))
                    EndAll(failed.Owner, FinishReason.Error);
            }

            return;
        }

        var perToken = _time.GetElapsedTime(started).TotalSeconds / Math.Max(1, plan.TokenCount);
        foreach (var span in plan.Spans)
            _choices[span.Sequence.Id].Owner.ComputeSeconds += perToken * span.Count;
        Pool(plan);
        Sample(plan);
        var seconds = _time.GetElapsedTime(started).TotalSeconds;
        var (promptTokens, pairs) = (0, 0L);
        foreach (var span in plan.Spans)
        {
            if (span.Count - span.Drafts == 1)
                continue;
            promptTokens += span.Count;
            pairs += span.Count * (span.Start + (span.Count / 2L));
        }

        var cost = new IterationCost(streams, promptTokens, pairs, _pacing.Predict(promptTokens, pairs), seconds);
        _pacing.Record(streams, promptTokens, pairs, seconds);
        _snapshot = Observe();
        _observer.Iterated(_scheduler, plan, _produced, _snapshot, cost);
    }

    /// <summary>
    /// Samples from the rows of each span in turn, the very draws that plain decoding makes, and goes on to a guess's row only
    /// if the token drawn is that guess.
    /// </summary>
    private void Sample(IterationPlan plan)
    {
        _produced = 0;
        var row = 0;
        _scheduler.RecordComputed(plan);
        foreach (var span in plan.Spans)
        {
            if (!span.Samples)
                continue;
            var choice = _choices[span.Sequence.Id];
            span.Sequence.Drafts[..span.Drafts].CopyTo(_drafts);
            for (var i = 0; i <= span.Drafts; i++)
            {
                var update = Update(choice, _logits[row + i]);
                var token = update.TokenIds.Count > 0 ? update.TokenIds[0] : 0;
                HandOut(choice, update);
                _scheduler.Append(span.Sequence, token, update.Finish is not null);
                _produced++;
                if (update.Finish is not null || i == span.Drafts || token != _drafts[i])
                {
                    choice.Judge(i, span.Drafts, _drafts.Length);
                    break;
                }
            }

            row += 1 + span.Drafts;
        }
    }

    private ChoiceUpdate Update(ChoiceOutput choice, ReadOnlySpan<float> logits)
    {
        var request = choice.Owner.Request;
        if (choice.Embedding is { } embedding)
            return new ChoiceUpdate(choice.Choice, 0, [], "", null, FinishReason.Stop, embedding.Result());
        if (request.WantsLogits)
            return new ChoiceUpdate(choice.Choice, 0, [], "", null, FinishReason.Stop, logits.ToArray());
        try
        {
            var allowed = choice.Constraint is { } constraint ? constraint.Allowed(request.Stop.StopTokens) : default;
            var sequence = choice.Sequence;
            return choice.Take(_sampler.Choose(
                logits, sequence.Tokens[..sequence.PromptLength], sequence.Produced, choice.Choice, request.Sampling, allowed));
        }
        catch (ConstraintException exception)
        {
            LogConstraintFailed(_logger, exception.Message);
            return choice.End(FinishReason.Error);
        }
    }

    private void HandOut(ChoiceOutput choice, ChoiceUpdate update)
    {
        var now = _time.GetTimestamp();
        if (update.TokenIds.Count > 0)
            Observe(choice, now);
        if (update.Finish is { } reason)
        {
            _choices.Remove(choice.Sequence.Id);
            _observer.Finished(reason, choice.Times(_time, now), choice.ProducedHere);
            choice.Owner.MostTokens = Math.Max(choice.Owner.MostTokens, choice.ProducedHere);
            if (choice.Owner.OpenChoices == 1)
            {
                _active.Remove(choice.Owner);
                _observer.Closed(choice.Owner.MostTokens);
            }
        }

        choice.Owner.Publish(update);
    }

    private void Observe(ChoiceOutput choice, long now)
    {
        if (choice.FirstTokenAt is null)
        {
            choice.FirstTokenAt = now;
            choice.Owner.CachedPromptTokens = Math.Max(choice.Owner.CachedPromptTokens, choice.Sequence.CachedPromptTokens);
            _observer.FirstToken(choice.Times(_time, now));
        }
        else
        {
            _observer.NextToken(_time.GetElapsedTime(choice.LastTokenAt, now).TotalSeconds);
        }

        choice.LastTokenAt = now;
    }

    private void EndAll(ActiveRequest request, FinishReason reason)
    {
        foreach (var choice in _choices.Values.Where(choice => choice.Owner == request).ToList())
        {
            _scheduler.Abort(choice.Sequence);
            HandOut(choice, choice.End(reason));
        }
    }

    private EngineSnapshot Observe()
    {
        var outstanding = 0L;
        for (var i = 0; i < _scheduler.Running.Count; i++)
            outstanding += _scheduler.Running[i].MaxTotalTokens - _scheduler.Running[i].ComputedTokens;
        for (var i = 0; i < _scheduler.Waiting.Count; i++)
            outstanding += _scheduler.Waiting[i].MaxTotalTokens;
        return new(_scheduler.Running.Count, _scheduler.Waiting.Count, outstanding, _scheduler.Pool.TotalCount, _scheduler.Pool.FreeCount);
    }
}
