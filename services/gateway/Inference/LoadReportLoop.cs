using Grpc.Core;
using Platform.Internal.V1;

namespace Platform.Gateway.Inference;

/// <summary>Tells the scheduler every second what is in progress here. A report that is lost is made up for by the next.</summary>
public sealed partial class LoadReportLoop(
    EndpointService.EndpointServiceClient scheduler, LoadBoard board, TimeProvider time, ILogger<LoadReportLoop> log) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly string _gateway = Guid.NewGuid().ToString("N");

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            do
            {
                var report = new ReportLoadRequest { Gateway = _gateway };
                report.Loads.AddRange(board.Read());
                try
                {
                    await scheduler.ReportLoadAsync(report, deadline: time.GetUtcNow().UtcDateTime + (Interval * 5), cancellationToken: stoppingToken);
                }
                catch (RpcException e) when (!stoppingToken.IsCancellationRequested)
                {
                    LogUnheard(log, e.Status.Detail);
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (Exception e) when (e is OperationCanceledException or RpcException && stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
    }

    [LoggerMessage(1004, LogLevel.Debug, "The scheduler did not hear of the load: {Detail}")]
    private static partial void LogUnheard(ILogger logger, string detail);
}
