using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Errors;

namespace Platform.Scheduler.Adapters;

/// <summary>
/// Receives what agents say on the bus, while this process leads: a standby would take messages from the leader. Messages are
/// hints, so failing to process one is not an error: the lease call says it again.
/// </summary>
internal sealed partial class ReportReceiver(
    IMessageBus bus, Leadership leadership, ControlLoop loop, JobPlanning planning, TimeProvider time, ILogger<ReportReceiver> logger) : BackgroundService
{
    private const string Queue = "scheduler-reports";

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100), time);
        IAsyncDisposable? receiving = null;
        try
        {
            do
            {
                try
                {
                    if (leadership.Epoch is not null && receiving is null)
                    {
                        receiving = await bus.ReceiveAsync(
                            Queue,
                            [MessageHandler.For<GangMemberChanged>(ReceiveAsync), MessageHandler.For<GangProgressed>(ReceiveAsync)],
                            stoppingToken);
                    }
                    else if (leadership.Epoch is null && receiving is not null)
                    {
                        await receiving.DisposeAsync();
                        receiving = null;
                    }
                }
                catch (Exception exception) when (exception is not OperationCanceledException)
                {
                    LogReceiveFailed(logger, exception);
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        finally
        {
            if (receiving is not null)
            {
                await receiving.DisposeAsync();
            }
        }
    }

    /// <summary>It is done with once the loop has it: what is lost before its commit, the lease call says again.</summary>
    private Task ReceiveAsync(GangMemberChanged message, CancellationToken cancellationToken) =>
        loop.PostAsync(control => control.Plane.Report(message.Report, control.Now), cancellationToken).AsTask();

    /// <summary>Nobody repeats it, so it is done with once it is committed.</summary>
    private Task ReceiveAsync(GangProgressed message, CancellationToken cancellationToken) =>
        TryAsync(control => ProgressRecorder.Record(message.Report, control, planning), cancellationToken);

    private async Task TryAsync(Func<ControlContext, bool> work, CancellationToken cancellationToken)
    {
        try
        {
            await loop.RunAsync(work, cancellationToken);
        }
        catch (UnavailableException exception)
        {
            LogProgressDropped(logger, exception.Message);
        }
    }

    [LoggerMessage(EventId = 3030, Level = LogLevel.Warning, Message = "The queue of reports cannot be received from")]
    private static partial void LogReceiveFailed(ILogger logger, Exception exception);

    [LoggerMessage(EventId = 3032, Level = LogLevel.Debug, Message = "Progress was dropped: {Reason}")]
    private static partial void LogProgressDropped(ILogger logger, string reason);
}
