using System.Diagnostics;
using System.Threading.Channels;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Telemetry;

namespace Platform.Scheduler.Adapters;

/// <summary>Sends assignments to the queues of their nodes. When the bus is slow the oldest are dropped: agents pull what they miss.</summary>
internal sealed partial class CommandSender(IMessageBus bus, ILogger<CommandSender> logger) : BackgroundService
{
    private const int InFlight = 32;
    private static readonly ActivitySource Source = new("Platform.Scheduler");

    private readonly Channel<GangAssignment> queue = Channel.CreateBounded<GangAssignment>(
        new BoundedChannelOptions(16384) { SingleReader = true, FullMode = BoundedChannelFullMode.DropOldest }, _ => SchedulerMetrics.CommandsDropped.Inc());

    public void Send(IReadOnlyList<GangAssignment> assignments)
    {
        foreach (var assignment in assignments)
        {
            queue.Writer.TryWrite(assignment);
        }
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Parallel.ForEachAsync(
        // What a broker has yet to confirm does not hold up the rest; agents cope with any order.
        queue.Reader.ReadAllAsync(stoppingToken), new ParallelOptions { MaxDegreeOfParallelism = InFlight, CancellationToken = stoppingToken }, SendAsync);

    private async ValueTask SendAsync(GangAssignment assignment, CancellationToken stoppingToken)
    {
        using var activity = Source.Continue($"send {assignment.Phase}", assignment.TraceParent, ActivityKind.Producer);
        activity?.SetTag("gang", assignment.Gang);
        activity?.SetTag("node", assignment.Node);
        try
        {
            string node = $"node-{assignment.Node}";
            await (assignment.Phase switch
            {
                GangPhase.Prepare => bus.SendAsync(node, new PrepareGang(assignment), stoppingToken),
                GangPhase.Start => bus.SendAsync(node, new StartGang(assignment), stoppingToken),
                _ => bus.SendAsync(node, new StopGang(assignment), stoppingToken),
            });
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            SchedulerMetrics.CommandsDropped.Inc();
            LogSendFailed(logger, assignment.Phase, assignment.Gang, assignment.Node, exception.Message);
        }
    }

    [LoggerMessage(EventId = 3020, Level = LogLevel.Warning, Message = "{Phase} of {Gang} could not be sent to {Node}, which will learn of it with its lease: {Reason}")]
    private static partial void LogSendFailed(ILogger logger, GangPhase phase, string gang, string node, string reason);
}
