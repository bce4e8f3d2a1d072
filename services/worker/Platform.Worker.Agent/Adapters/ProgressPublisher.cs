using Microsoft.Extensions.Logging;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Worker.Agent.Adapters.Ranks;
using Platform.Worker.Agent.Adapters.Scheduler;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters;

/// <summary>
/// Gathers what ranks report and publishes it in batches. Points stay until the bus has taken them, and the last few
/// travel again with the next batch, so that one lost message loses none.
/// </summary>
internal sealed partial class ProgressPublisher(IMessageBus bus, AgentOptions options, ILogger<ProgressPublisher> logger) : IDisposable
{
    private const int RepeatedPoints = 32;
    private const int MaxPoints = 4096;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(500);

    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly SortedDictionary<AttemptKey, Progress> _progress = [];

    /// <summary>Takes a report of a rank.</summary>
    public void Add(RunningAttempt attempt, int rank, string phase, double? fraction, IReadOnlyList<StepMetrics> points)
    {
        int firstRank = attempt.Assignment.Ranks.Min(r => r.Rank);
        lock (_gate)
        {
            if (!_progress.TryGetValue(attempt.Key, out Progress? progress))
            {
                _progress.Add(attempt.Key, progress = new Progress(attempt.Key));
            }

            // One rank of the node speaks for all, and the gang's phase is that of the node with rank 0.
            if (rank == firstRank && (progress.Phase != phase || progress.Fraction != fraction))
            {
                (progress.Phase, progress.Fraction) = (phase, fraction);
                progress.HasNews |= rank == 0;
            }

            foreach (StepMetrics point in points)
            {
                if (progress.Fresh.Count < MaxPoints && point.Step > progress.LastStep)
                {
                    progress.LastStep = point.Step;
                    progress.Fresh.Add(point);
                    progress.HasNews = true;
                    AgentMetrics.Observe(attempt.Key.Gang, point);
                }
            }
        }
    }

    /// <summary>Publishes what is new of one attempt, before its end is reported.</summary>
    public async Task FlushAsync(AttemptKey key, CancellationToken cancellationToken)
    {
        Progress? progress;
        lock (_gate)
        {
            _progress.TryGetValue(key, out progress);
        }

        if (progress is not null)
        {
            await PublishAsync(progress, cancellationToken);
        }
    }

    /// <summary>Forgets an attempt.</summary>
    public void Remove(AttemptKey key)
    {
        lock (_gate)
        {
            _progress.Remove(key);
        }

        AgentMetrics.Forget(key.Gang);
    }

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            Progress[] all;
            lock (_gate)
            {
                all = [.. _progress.Values];
            }

            foreach (Progress progress in all)
            {
                await PublishAsync(progress, cancellationToken);
            }

            await Task.Delay(Interval, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public void Dispose() => _sending.Dispose();

    private async Task PublishAsync(Progress progress, CancellationToken cancellationToken)
    {
        try
        {
            await _sending.WaitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            return;
        }

        try
        {
            if (Take(progress) is not { } report)
            {
                return;
            }

            await bus.SendAsync(ReportSender.Queue, new GangProgressed(report.Report), cancellationToken);
            lock (_gate)
            {
                progress.Repeated.AddRange(progress.Fresh.Take(report.FreshCount));
                progress.Fresh.RemoveRange(0, report.FreshCount);
                progress.Repeated.RemoveRange(0, Math.Max(0, progress.Repeated.Count - RepeatedPoints));
            }
        }
        catch (Exception exception)
        {
            lock (_gate)
            {
                progress.HasNews = true;
            }

            if (exception is not OperationCanceledException)
            {
                LogNotSent(logger, exception, progress.Key);
            }
        }
        finally
        {
            _sending.Release();
        }
    }

    private (GangProgressReport Report, int FreshCount)? Take(Progress progress)
    {
        lock (_gate)
        {
            if (!progress.HasNews)
            {
                return null;
            }

            progress.HasNews = false;
            var report = new GangProgressReport
            {
                Node = options.Node,
                Gang = progress.Key.Gang,
                Attempt = progress.Key.Attempt,
                Phase = progress.Phase,
                PhaseFraction = progress.Fraction,
                Points = [.. progress.Repeated, .. progress.Fresh],
            };
            return (report, progress.Fresh.Count);
        }
    }

    [LoggerMessage(EventId = 2035, Level = LogLevel.Warning, Message = "Progress of {Attempt} could not be published; it stays for the next batch")]
    private static partial void LogNotSent(ILogger logger, Exception exception, AttemptKey attempt);

    private sealed class Progress(AttemptKey key)
    {
        public AttemptKey Key => key;

        public string Phase { get; set; } = "preparing";

        public double? Fraction { get; set; }

        public int LastStep { get; set; }

        public bool HasNews { get; set; }

        public List<StepMetrics> Fresh { get; } = [];

        public List<StepMetrics> Repeated { get; } = [];
    }
}
