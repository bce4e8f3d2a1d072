using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;

namespace Platform.Worker.Agent.Adapters.Scheduler;

/// <summary>
/// Sends member reports over the bus without holding up the machine. When the bus is slow the oldest are dropped:
/// every lease renewal says the same again.
/// </summary>
internal sealed partial class ReportSender(IMessageBus bus, ILogger<ReportSender> logger)
{
    /// <summary>Queue of the scheduler.</summary>
    public const string Queue = "scheduler-reports";

    private readonly Channel<GangMemberReport> _reports = Channel.CreateBounded<GangMemberReport>(
        new BoundedChannelOptions(256) { SingleReader = true, FullMode = BoundedChannelFullMode.DropOldest });

    public void Send(GangMemberReport report) => _reports.Writer.TryWrite(report);

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await foreach (GangMemberReport report in _reports.Reader.ReadAllAsync(cancellationToken))
            {
                await SendAsync(report, cancellationToken);
            }
        }
        catch (OperationCanceledException)
        {
            // The agent stops.
        }
    }

    private async Task SendAsync(GangMemberReport report, CancellationToken cancellationToken)
    {
        try
        {
            await bus.SendAsync(Queue, new GangMemberChanged(report), cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            LogNotSent(logger, exception, report.Gang, report.Attempt, report.Phase);
        }
    }

    [LoggerMessage(EventId = 2034, Level = LogLevel.Warning, Message = "Report of {Gang}/{Attempt} {Phase} goes with the next lease renewal only")]
    private static partial void LogNotSent(ILogger logger, Exception exception, string gang, int attempt, MemberPhase phase);
}
