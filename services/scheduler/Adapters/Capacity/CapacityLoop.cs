using Platform.Hosting.Errors;
using Platform.Scheduling.Capacity;

namespace Platform.Scheduler.Adapters.Capacity;

/// <summary>
/// Brings what providers have to what was decided and committed, over and over, while this process leads. It remembers
/// nothing that a restart would lose: nodes are known by their names.
/// </summary>
internal sealed partial class CapacityLoop(
    ControlLoop loop, ControlView view, IEnumerable<ICapacityProvider> providers, SchedulerOptions options,
    IHostApplicationLifetime lifetime, TimeProvider time, ILogger<CapacityLoop> logger) : BackgroundService
{
    private static readonly TimeSpan CallLimit = TimeSpan.FromSeconds(30);

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        foreach (var provider in providers)
        {
            await provider.DisposeAsync();
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        HashSet<string> used = [.. options.Capacity.Groups.Select(group => group.Provider)];
        var active = providers.Where(provider => used.Contains(provider.Name)).ToList();
        if (active.Count > 0)
        {
            // Agents are told where the scheduler listens, which is known once it does.
            var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using var registered = lifetime.ApplicationStarted.Register(() => started.TrySetResult());
            await started.Task.WaitAsync(stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await Task.WhenAll(active.Select(provider => RunAsync(provider, stoppingToken)));
        }
    }

    /// <summary>Providers do not wait for each other: one that is slow holds up only its own nodes.</summary>
    private async Task RunAsync(ICapacityProvider provider, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(options.Capacity.PollSeconds), time);
        var created = new HashSet<string>();
        string lastError = "";
        try
        {
            do
            {
                try
                {
                    await ReconcileAsync(provider, created, cancellationToken);
                    lastError = "";
                }
                catch (UnavailableException)
                {
                    // It does not lead any more, or the commit failed: providers say it again.
                }
                catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
                {
                    if (lastError != exception.Message)
                    {
                        lastError = exception.Message;
                        LogFailed(logger, exception, provider.Name);
                    }
                }
            }
            while (await timer.WaitForNextTickAsync(cancellationToken));
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    private async Task ReconcileAsync(ICapacityProvider provider, HashSet<string> created, CancellationToken cancellationToken)
    {
        if (!view.Now.Leading)
        {
            return;
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(CallLimit);
        var present = (await provider.ListAsync(limit.Token)).ToDictionary(node => node.Name);
        var state = view.Now.Capacity;
        var groups = options.Control.Capacity.Groups.ToDictionary(group => group.Name);
        var happened = new List<CapacityEvent>();
        foreach (var node in state.Nodes.Where(node => groups.TryGetValue(node.Group, out var group) ? group.Provider == provider.Name : present.ContainsKey(node.Name)))
        {
            if (present.TryGetValue(node.Name, out var provided))
            {
                if (node.Phase == ManagedNodePhase.Removing)
                {
                    await provider.RemoveAsync(node.Name, limit.Token);
                }
                else if (node.Phase == ManagedNodePhase.Asked && provided.Detail != node.Detail)
                {
                    happened.Add(new CapacityEvent.Told(node.Name, provided.Detail));
                }
            }
            else if (node.Phase != ManagedNodePhase.Asked || created.Contains(node.Name))
            {
                happened.Add(new CapacityEvent.Absent(node.Name));
            }
            else if (await CreateAsync(provider, node, groups[node.Group], limit.Token) is { } refused)
            {
                happened.Add(refused);
            }
            else
            {
                created.Add(node.Name);
            }
        }

        // What nobody knows any more was given up by somebody who did not live to see it go.
        HashSet<string> known = [.. state.Nodes.Select(node => node.Name)];
        foreach (string stray in present.Keys.Where(name => !known.Contains(name) && state.HasNamed(name)))
        {
            LogStray(logger, stray, provider.Name);
            await provider.RemoveAsync(stray, limit.Token);
        }

        created.IntersectWith(known);
        if (happened.Count > 0)
        {
            await loop.RunAsync(
                control =>
                {
                    control.Plane.Observe(happened, control.Now);
                    return true;
                },
                cancellationToken);
        }
    }

    private async Task<CapacityEvent.Refused?> CreateAsync(ICapacityProvider provider, ManagedNode node, NodeGroup group, CancellationToken cancellationToken)
    {
        try
        {
            await provider.CreateAsync(node, group, cancellationToken);
            LogCreated(logger, node.Name, provider.Name, node.For ?? group.Name);
            return null;
        }
        catch (CapacityRefusedException exception)
        {
            LogRefused(logger, node.Name, provider.Name, exception.Message);
            return new CapacityEvent.Refused(node.Name, exception.Message);
        }
    }

    [LoggerMessage(EventId = 3070, Level = LogLevel.Information, Message = "Node {Node} was asked of provider {Provider} for {For}")]
    private static partial void LogCreated(ILogger logger, string node, string provider, string @for);

    [LoggerMessage(EventId = 3071, Level = LogLevel.Warning, Message = "Node {Node} was refused by provider {Provider}: {Reason}")]
    private static partial void LogRefused(ILogger logger, string node, string provider, string reason);

    [LoggerMessage(EventId = 3072, Level = LogLevel.Warning, Message = "Provider {Provider} cannot be asked; it is tried again")]
    private static partial void LogFailed(ILogger logger, Exception exception, string provider);

    [LoggerMessage(EventId = 3073, Level = LogLevel.Warning, Message = "Node {Node} of provider {Provider} was given up before and is removed")]
    private static partial void LogStray(ILogger logger, string node, string provider);
}
