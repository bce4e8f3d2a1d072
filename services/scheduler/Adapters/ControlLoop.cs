using System.Diagnostics;
using System.Security.Cryptography;
using System.Threading.Channels;
using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Hosting.Errors;
using Platform.Hosting.Telemetry;
using Platform.Scheduler.Data;
using Platform.Scheduling.Control;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduler.Adapters;

/// <summary>
/// The one writer. It takes work in batches, applies it to the control plane, commits what changed in one transaction
/// that also checks the leadership, and only then answers, wakes watchers and sends messages. If a commit fails, the
/// state in memory is dropped and read anew.
/// </summary>
internal sealed partial class ControlLoop(
    IDbContextFactory<SchedulerDbContext> factory, Leadership leadership, CommandSender sender, ChangeFeed feed, ControlView view,
    SchedulerOptions options, TimeProvider time, ILogger<ControlLoop> logger) : BackgroundService
{
    private const int BatchLimit = 256;
    private static readonly ActivitySource Source = new("Platform.Scheduler");
    private readonly Channel<ControlWork> queue = Channel.CreateBounded<ControlWork>(new BoundedChannelOptions(8192) { SingleReader = true });
    private readonly Channel<bool> nudge = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private ControlPlane? plane;
    private StateStore store = new();
    private long epoch;
    private long sequence;

    /// <summary>Does work and answers once it is committed.</summary>
    /// <exception cref="UnavailableException">This scheduler does not lead, or the commit failed.</exception>
    public Task<T> RunAsync<T>(Func<ControlContext, Task<T>> work, CancellationToken cancellationToken) => RunThenAsync<T>(
        async context =>
        {
            var result = await work(context);
            return () => result;
        },
        cancellationToken);

    /// <summary>Does work and answers once it is committed, with what its result says then.</summary>
    /// <exception cref="UnavailableException">This scheduler does not lead, or the commit failed.</exception>
    public async Task<T> RunThenAsync<T>(Func<ControlContext, Task<Func<T>>> work, CancellationToken cancellationToken)
    {
        if (leadership.Epoch is null)
        {
            throw NotLeading();
        }

        var item = new ControlWork<T>(work);
        await queue.Writer.WriteAsync(item, cancellationToken);
        return await item.Done.WaitAsync(cancellationToken);
    }

    /// <summary>Does work and answers once it is committed.</summary>
    public Task<T> RunAsync<T>(Func<ControlContext, T> work, CancellationToken cancellationToken) =>
        RunAsync(context => Task.FromResult(work(context)), cancellationToken);

    /// <summary>
    /// Does work some time, if this scheduler leads and the commit succeeds: for messages, which are hints and are repeated.
    /// Waits only while the loop is far behind, so that one message does not wait for the commit of another.
    /// </summary>
    public async ValueTask PostAsync(Action<ControlContext> work, CancellationToken cancellationToken)
    {
        if (leadership.Epoch is not null)
        {
            await queue.Writer.WriteAsync(new PostedWork(work, reason => LogPostDropped(logger, reason)), cancellationToken);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        leadership.Won += () => nudge.Writer.TryWrite(true);
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(options.TickSeconds), time);
        var tick = timer.WaitForNextTickAsync(stoppingToken).AsTask();
        var ready = queue.Reader.WaitToReadAsync(stoppingToken).AsTask();
        var woken = nudge.Reader.ReadAsync(stoppingToken).AsTask();
        try
        {
            while (true)
            {
                await Task.WhenAny(ready, tick, woken);
                stoppingToken.ThrowIfCancellationRequested();
                bool timePassed = tick.IsCompleted || woken.IsCompleted;
                tick = tick.IsCompleted ? timer.WaitForNextTickAsync(stoppingToken).AsTask() : tick;
                woken = woken.IsCompleted ? nudge.Reader.ReadAsync(stoppingToken).AsTask() : woken;
                await RunBatchAsync(timePassed, stoppingToken);
                ready = ready.IsCompleted ? queue.Reader.WaitToReadAsync(stoppingToken).AsTask() : ready;
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
        finally
        {
            queue.Writer.TryComplete();
            FailAll(Take(int.MaxValue), new UnavailableException("SHUTTING_DOWN", "The scheduler is stopping."));
        }
    }

    private async Task RunBatchAsync(bool timePassed, CancellationToken cancellationToken)
    {
        var batch = Take(BatchLimit);
        if (leadership.Epoch is not { } current)
        {
            plane = null;
            view.Clear();
            FailAll(batch, NotLeading());
            return;
        }

        long started = time.GetTimestamp();
        try
        {
            await using var db = await factory.CreateDbContextAsync(cancellationToken);
            var now = time.GetUtcNow();
            if (plane is null || epoch != current)
            {
                await LoadAsync(db, current, now, cancellationToken);
            }

            var context = new ControlContext(plane!, db, now, epoch, () => (epoch << 32) + ++sequence);
            var applied = await ApplyAsync(batch, context);
            if (timePassed)
            {
                plane!.Tick(now);
            }
            else
            {
                plane!.Settle(now);
            }

            var changes = plane.TakeChanges();
            if (!changes.IsEmpty || context.HasWrites)
            {
                await CommitAsync(changes, context, cancellationToken);
            }

            // Readers see it before those who asked for it hear of it.
            Tell(changes, context);
            foreach (var work in applied)
            {
                work.Complete();
            }

            if (batch.Count > 0)
            {
                SchedulerMetrics.Cycle.Observe(time.GetElapsedTime(started).TotalSeconds);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            FailAll(batch, new UnavailableException("SHUTTING_DOWN", "The scheduler is stopping."));
            throw;
        }
        catch (Exception exception)
        {
            LogBatchFailed(logger, exception);
            SchedulerMetrics.CommitFailures.Inc();
            plane = null;
            FailAll(batch, exception as PlatformException ?? new UnavailableException("COMMIT_FAILED", "The change could not be stored; try again.", exception));
            await Task.Delay(TimeSpan.FromMilliseconds(200), time, cancellationToken);
        }
    }

    private async Task LoadAsync(SchedulerDbContext db, long current, DateTimeOffset now, CancellationToken cancellationToken)
    {
        store = new StateStore();
        var record = await store.LoadAsync(db, now, cancellationToken);
        epoch = current;
        sequence = Math.Max(0, await LastSequenceAsync(db, current, cancellationToken) - (current << 32));
        plane = new ControlPlane(record, options.Control, epoch, NewToken, TraceDecision, now);
        LogLoaded(logger, epoch, record.Gangs.Count, record.Nodes.Count);
    }

    /// <summary>The last number given in this leadership, which may have been read anew after a failed commit.</summary>
    private static async Task<long> LastSequenceAsync(SchedulerDbContext db, long current, CancellationToken cancellationToken)
    {
        long jobs = await db.Jobs.MaxAsync(row => (long?)row.Sequence, cancellationToken) ?? 0;
        long models = await db.Models.MaxAsync(row => (long?)row.Sequence, cancellationToken) ?? 0;
        long operations = await db.Operations.MaxAsync(row => (long?)row.Sequence, cancellationToken) ?? 0;
        return Math.Max(current << 32, Math.Max(jobs, Math.Max(models, operations)));
    }

    private static async Task<List<ControlWork>> ApplyAsync(List<ControlWork> batch, ControlContext context)
    {
        var applied = new List<ControlWork>(batch.Count);
        foreach (var work in batch)
        {
            try
            {
                await work.ApplyAsync(context);
                applied.Add(work);
            }
            catch (PlatformException exception)
            {
                // A refusal: work validates before it changes anything.
                work.Fail(exception);
            }
        }

        return applied;
    }

    private async Task CommitAsync(ControlChanges changes, ControlContext context, CancellationToken cancellationToken)
    {
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        await using var transaction = await db.Database.BeginTransactionAsync(cancellationToken);
        if (!await leadership.GuardAsync(db, epoch, cancellationToken))
        {
            leadership.StepDown();
            throw NotLeading();
        }

        store.Write(context.Rows, changes);
        await context.Rows.FlushAsync(db, cancellationToken);
        if (changes.History is { } history)
        {
            await UsageAccounts.StoreAsync(db, history, cancellationToken);
        }

        await context.WriteAllAsync(db, cancellationToken);
        await db.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>What others learn once it is committed. All of it may be lost; all of it can be asked for again.</summary>
    private void Tell(ControlChanges changes, ControlContext context)
    {
        sender.Send(changes.Commands);
        var names = new HashSet<string>(context.Touched);
        names.UnionWith(changes.Gangs.Select(gang => gang.Gang));
        names.UnionWith(changes.Deployments.Select(deployment => $"deployments/{deployment.Key}"));
        names.UnionWith(changes.DeletedDeployments.Select(key => $"deployments/{key}"));
        names.UnionWith(changes.Nodes.Select(node => $"nodes/{node.Node}"));
        names.UnionWith(view.Update(plane!, changes));
        foreach (var (gang, attempt, outcome) in changes.EndedAttempts)
        {
            SchedulerMetrics.Attempts.WithLabels(gang.Split('/')[0], outcome.ToString()).Inc();
            foreach (var failure in attempt.Failures)
            {
                SchedulerMetrics.AttemptFailures.WithLabels(failure.Code.ToString()).Inc();
            }
        }

        foreach (var gang in changes.Gangs)
        {
            LogStage(logger, gang.Gang, gang.Stage, gang.StageReason);
            if (gang is { IsTerminal: true, Kind: WorkloadKind.Training })
            {
                SchedulerMetrics.Forget(gang.Gang["jobs/".Length..]);
            }
            else if (gang is { Stage: GangStage.Preparing, Attempt: { Number: 1 } first } && first.PlacedAt == context.Now)
            {
                SchedulerMetrics.QueueWait.Observe((first.PlacedAt - gang.SubmittedAt).TotalSeconds);
            }
        }

        feed.Publish(names);
    }

    private static string NewToken() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));

    private static string? TraceDecision(GangState gang)
    {
        using var activity = Source.Continue("schedule", gang.TraceParent, ActivityKind.Producer);
        activity?.SetTag("gang", gang.Gang);
        activity?.SetTag("attempt", (gang.Attempt?.Number ?? 0) + 1);
        return activity?.Id ?? gang.TraceParent;
    }

    private List<ControlWork> Take(int limit)
    {
        var batch = new List<ControlWork>();
        while (batch.Count < limit && queue.Reader.TryRead(out var work))
        {
            batch.Add(work);
        }

        return batch;
    }

    private static void FailAll(List<ControlWork> batch, Exception exception)
    {
        foreach (var work in batch)
        {
            work.Fail(exception);
        }
    }

    private static UnavailableException NotLeading() =>
        new("NOT_LEADING", "This scheduler is standing by; another one leads.") { RetryAfter = TimeSpan.FromSeconds(1) };

    [LoggerMessage(EventId = 3010, Level = LogLevel.Information, Message = "Epoch {Epoch} begins with {Gangs} gangs and {Nodes} nodes")]
    private static partial void LogLoaded(ILogger logger, long epoch, int gangs, int nodes);

    [LoggerMessage(EventId = 3011, Level = LogLevel.Error, Message = "A batch failed; the state is read anew")]
    private static partial void LogBatchFailed(ILogger logger, Exception exception);

    [LoggerMessage(EventId = 3031, Level = LogLevel.Debug, Message = "A report was dropped: {Reason}")]
    private static partial void LogPostDropped(ILogger logger, string reason);

    [LoggerMessage(EventId = 3012, Level = LogLevel.Information, Message = "{Gang} is {Stage}: {Reason}")]
    private static partial void LogStage(ILogger logger, string gang, GangStage stage, string reason);
}
