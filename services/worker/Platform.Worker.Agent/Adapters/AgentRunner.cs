using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Network;
using Platform.Worker.Agent.Adapters.Processes;
using Platform.Worker.Agent.Adapters.Scheduler;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters;

/// <summary>Order of the agent's start and end.</summary>
internal sealed partial class AgentRunner(
    AgentDirectory directory, ProcessRecords records, AgentLoop loop, LeaseLoop lease, ReportSender reports,
    ProgressPublisher progress, IMessageBus bus, AgentEvents events, AgentStateHolder holder, EffectRunner effects,
    AgentAddress address, Listeners listeners, AgentOptions options, IHostApplicationLifetime lifetime, ILogger<AgentRunner> logger)
    : IHostedLifecycleService, IAsyncDisposable
{
    private static readonly TimeSpan ReleaseTimeout = TimeSpan.FromSeconds(8);

    private readonly CancellationTokenSource _loopStop = new();
    private readonly CancellationTokenSource _linksStop = new();
    private Task _loop = Task.CompletedTask;
    private Task _links = Task.CompletedTask;
    private IAsyncDisposable? _receiver;
    private bool _isStopped;

    /// <summary>Before anything is offered: what a former run left is ended.</summary>
    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        await records.KillLeftoversAsync(cancellationToken);
        directory.DeleteLeftovers();
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StartedAsync(CancellationToken cancellationToken)
    {
        var bound = new Uri(listeners.Addresses[AgentApplication.RendezvousListener]);
        address.Value = $"{options.AdvertisedHost}:{bound.Port}";
        _loop = RunLoopAsync();
        _receiver = await bus.ReceiveAsync(
            $"node-{options.Node}",
            [
                MessageHandler.For<PrepareGang>((message, token) => PostAsync(message.Assignment, token)),
                MessageHandler.For<StartGang>((message, token) => PostAsync(message.Assignment, token)),
                MessageHandler.For<StopGang>((message, token) => PostAsync(message.Assignment, token)),
            ],
            cancellationToken);
        _links = Task.WhenAll(lease.RunAsync(_linksStop.Token), reports.RunAsync(_linksStop.Token), progress.RunAsync(_linksStop.Token));
        LogStarted(logger, options.Node, holder.State.Incarnation, options.Devices, options.DeviceKind);
    }

    /// <summary>Nothing new begins, every process ends, and the scheduler is told.</summary>
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        if (_isStopped)
        {
            return;
        }

        _isStopped = true;
        if (_receiver is not null)
        {
            await _receiver.DisposeAsync();
        }

        // From here on no renewal may give the node a lease again.
        await _linksStop.CancelAsync();
        await _links.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (_loop.IsCompleted)
        {
            return;
        }

        await events.PostAsync(new AgentEvent.ShuttingDown(), cancellationToken);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(ReleaseTimeout);
        while (!limit.IsCancellationRequested && holder.State.Attempts.Values.Any(a => a.HasLiveRanks))
        {
            await Task.Delay(20, limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        effects.KillAll();
        await _loopStop.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        using var farewell = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        await lease.RenewAsync(farewell.Token).ContinueWith(_ => { }, TaskScheduler.Default);
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>A host that is disposed without having been stopped must not leave processes either.</summary>
    public async ValueTask DisposeAsync()
    {
        await StoppingAsync(CancellationToken.None);
        _loopStop.Dispose();
        _linksStop.Dispose();
    }

    private async Task PostAsync(GangAssignment assignment, CancellationToken cancellationToken) =>
        await events.PostAsync(new AgentEvent.AssignmentReceived(assignment), cancellationToken);

    private async Task RunLoopAsync()
    {
        try
        {
            await loop.RunAsync(_loopStop.Token);
        }
        catch (Exception)
        {
            // Already logged. An agent without its machine is of no use.
            lifetime.StopApplication();
        }
    }

    [LoggerMessage(EventId = 2004, Level = LogLevel.Information, Message = "Node {Node} ({Incarnation}) offers {Devices} {Kind} devices")]
    private static partial void LogStarted(ILogger logger, string node, string incarnation, int devices, string kind);
}
