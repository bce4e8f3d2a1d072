using System.Threading.Channels;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.Extensions.Logging;
using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Internal.V1;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters.Scheduler;

/// <summary>Renews the lease at a third of its length and pulls assignments when the machine asks for it.</summary>
internal sealed partial class LeaseLoop(
    SchedulerLink scheduler, AgentEvents events, AgentStateHolder holder, NodeInventory inventory, MonotonicClock clock,
    AgentAddress address, NoticeWatch notice, ILogger<LeaseLoop> logger)
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan FirstTimeout = TimeSpan.FromSeconds(5);

    private readonly Channel<bool> _pulls = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    private TimeSpan _lease = TimeSpan.Zero;
    private bool _inventoryNeeded = true;
    private bool _isOut;

    /// <summary>Wakes the pull; one that is already waiting is enough.</summary>
    public void RequestPull() => _pulls.Writer.TryWrite(true);

    public Task RunAsync(CancellationToken cancellationToken) =>
        Task.WhenAll(RenewForeverAsync(cancellationToken), PullForeverAsync(cancellationToken), notice.RunAsync(cancellationToken));

    /// <summary>Renews once. The last renewal of an agent that shuts down tells the scheduler that everything is released.</summary>
    public async Task<bool> RenewAsync(CancellationToken cancellationToken)
    {
        AgentState state = holder.State;
        var request = new RenewLeaseRequest
        {
            Node = state.Node,
            Incarnation = state.Incarnation,
            Epoch = state.Epoch,
            AppliedVersion = state.AppliedVersion,
            Inventory = _inventoryNeeded ? GangJson.Write(inventory) : "",
            AgentAddress = address.Value,
            Reports = { AgentMachine.Reports(state).Select(GangJson.Write) },
            LeavesIn = notice.Left is { } left ? Duration.FromTimeSpan(left) : null,
        };
        DateTimeOffset sentAt = clock.Now;
        try
        {
            TimeSpan timeout = _lease > TimeSpan.Zero && _lease / 3 < FirstTimeout ? _lease / 3 : FirstTimeout;
            RenewLeaseResponse response = await scheduler.OnceAsync(
                (client, call) => client.RenewLeaseAsync(request, call).ResponseAsync, timeout, cancellationToken);
            _inventoryNeeded = response.InventoryNeeded;
            _lease = response.Lease.ToTimeSpan();
            await events.PostAsync(
                new AgentEvent.LeaseRenewed(sentAt, response.Epoch, _lease, response.DesiredVersion), cancellationToken);
            if (_isOut)
            {
                LogBack(logger, state.Node);
                _isOut = false;
            }

            return true;
        }
        catch (RpcException exception) when (!cancellationToken.IsCancellationRequested)
        {
            if (!_isOut)
            {
                LogOut(logger, state.Node, exception.Status.Detail);
                _isOut = true;
            }

            return false;
        }
    }

    private async Task RenewForeverAsync(CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            bool renewed = false;
            try
            {
                renewed = await RenewAsync(cancellationToken);
            }
            catch (Exception exception) when (exception is OperationCanceledException or RpcException)
            {
                // The agent stops.
            }

            TimeSpan pause = renewed && !_inventoryNeeded ? _lease / 3 : RetryDelay;
            await notice.WaitAsync(pause, cancellationToken);
        }
    }

    private async Task PullForeverAsync(CancellationToken cancellationToken)
    {
        try
        {
            await foreach (bool _ in _pulls.Reader.ReadAllAsync(cancellationToken))
            {
                await PullAsync(cancellationToken);
            }
        }
        catch (OperationCanceledException)
        {
            // The agent stops.
        }
    }

    private async Task PullAsync(CancellationToken cancellationToken)
    {
        AgentState state = holder.State;
        DateTimeOffset requestedAt = clock.Now;
        try
        {
            GetAssignmentsResponse response = await scheduler.OnceAsync(
                (client, call) => client.GetAssignmentsAsync(
                    new GetAssignmentsRequest { Node = state.Node, Incarnation = state.Incarnation }, call).ResponseAsync,
                FirstTimeout, cancellationToken);
            await events.PostAsync(
                new AgentEvent.AssignmentsPulled(
                    requestedAt, response.Epoch, response.Version, [.. response.Assignments.Select(GangJson.Read<GangAssignment>)]),
                cancellationToken);
        }
        catch (RpcException exception) when (!cancellationToken.IsCancellationRequested)
        {
            // The next renewal finds the agent still behind and asks again.
            LogPullFailed(logger, state.Node, exception.Status.Detail);
        }
    }

    [LoggerMessage(EventId = 2031, Level = LogLevel.Warning, Message = "Node {Node} cannot renew its lease: {Detail}")]
    private static partial void LogOut(ILogger logger, string node, string detail);

    [LoggerMessage(EventId = 2032, Level = LogLevel.Information, Message = "Node {Node} renews its lease again")]
    private static partial void LogBack(ILogger logger, string node);

    [LoggerMessage(EventId = 2033, Level = LogLevel.Warning, Message = "Node {Node} could not pull its assignments: {Detail}")]
    private static partial void LogPullFailed(ILogger logger, string node, string detail);
}

/// <summary>Address of this agent's gRPC services for other nodes; known once the host listens.</summary>
internal sealed class AgentAddress
{
    /// <summary><c>host:port</c>; empty before the start.</summary>
    public string Value { get; set; } = "";
}

/// <summary>The machine's state, replaced by the agent loop alone.</summary>
internal sealed class AgentStateHolder(AgentState initial)
{
    private AgentState _state = initial;

    public AgentState State
    {
        get => Volatile.Read(ref _state);
        set => Volatile.Write(ref _state, value);
    }
}
