using Platform.Serving.Core.Output;
using Platform.Serving.Execution;

namespace Platform.Serving.Engine;

/// <summary>How a model sleeps and wakes; null members where it does not.</summary>
/// <param name="Reload">Loads the model's executor again.</param>
/// <param name="After">How long it is idle before it sleeps by itself; null when only others' needs make it sleep.</param>
/// <param name="Residency">Memory it shares with other models; null when it is alone.</param>
/// <param name="Bytes">What it takes when it is awake.</param>
/// <param name="StartsAsleep">Its executor is disposed of already.</param>
internal sealed record SleepSettings(Func<IModelExecutor> Reload, TimeSpan? After, ModelResidency? Residency, long Bytes, bool StartsAsleep = false);

/// <content>
/// Sleeping gives weights, cache and buffers back to the system and keeps everything else: tokenizer, settings, the queue.
/// The first request after that loads the executor again, on the engine's thread, and waits as if it were queued.
/// </content>
internal sealed partial class EngineLoop : ModelResidency.IResident
{
    private readonly SleepSettings? _sleep;
    private volatile bool _askedToSleep;
    private volatile bool _isAsleep;

    /// <summary>Whether the model is asleep: it holds no weights and no cache.</summary>
    public bool IsAsleep => _isAsleep;

    void ModelResidency.IResident.AskToSleep()
    {
        _askedToSleep = true;
        Wake();
    }

    void ModelResidency.IResident.Wake() => Wake();

    /// <summary>Takes the model's room where it begins awake.</summary>
    private void BeginStay()
    {
        _isAsleep = _sleep?.StartsAsleep == true;
        if (_isAsleep)
            _observer.Slept();
        else if (_sleep is { Residency: { } residency })
            residency.Begin(this, _sleep.Bytes);
    }

    /// <summary>Waits for something to do, asleep after a while or when others need the memory.</summary>
    private void WaitForWork()
    {
        if (_sleep is not { } sleep || _isAsleep)
        {
            _wake.Wait();
            return;
        }

        sleep.Residency?.Note(this, isIdle: true);
        if (_askedToSleep || !_wake.Wait(sleep.After ?? Timeout.InfiniteTimeSpan))
            FallAsleep(sleep);
    }

    private void FallAsleep(SleepSettings sleep)
    {
        _executor.Dispose();
        _scheduler.ForgetPrefixes();
        _isAsleep = true;
        _askedToSleep = false;
        sleep.Residency?.Leave(this);
        _observer.Slept();
        LogAsleep(_logger, sleep.Bytes >> 20);
    }

    /// <summary>Whether the model can compute; wakes it, or waits until that may be possible.</summary>
    private bool IsAwake()
    {
        if (!_isAsleep || _sleep is not { } sleep)
            return true;
        if (sleep.Residency?.TryEnter(this, sleep.Bytes) == false)
        {
            // Cancellations, too, end the wait.
            _wake.Wait();
            return false;
        }

        var started = _time.GetTimestamp();
        try
        {
            _executor = sleep.Reload();
        }
        catch (Exception exception)
        {
            LogWakeFailed(_logger, exception);
            sleep.Residency?.Leave(this);
            foreach (var request in _active.ToArray())
                EndAll(request, FinishReason.Error);
            return false;
        }

        _isAsleep = false;
        var seconds = _time.GetElapsedTime(started).TotalSeconds;
        _observer.Woke(seconds);
        LogAwake(_logger, seconds);
        return true;
    }

    private void NoteWork()
    {
        if (_sleep is { Residency: { } residency })
            residency.Note(this, isIdle: false);
    }

    [LoggerMessage(EventId = 5004, Level = LogLevel.Information, Message = "The model sleeps; {MebiBytes} MiB are given back")]
    private static partial void LogAsleep(ILogger logger, long mebiBytes);

    [LoggerMessage(EventId = 5005, Level = LogLevel.Information, Message = "The model woke within {Seconds:0.000} s")]
    private static partial void LogAwake(ILogger logger, double seconds);

    [LoggerMessage(EventId = 5006, Level = LogLevel.Error, Message = "The model could not be loaded again; its requests end with an error")]
    private static partial void LogWakeFailed(ILogger logger, Exception exception);
}
