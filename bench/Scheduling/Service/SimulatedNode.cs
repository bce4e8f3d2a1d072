using System.Collections.Concurrent;
using System.Globalization;
using Grpc.Core;
using Grpc.Net.Client;
using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Internal.V1;

namespace Platform.Benchmarks.Scheduling.Service;

/// <summary>
/// A node agent without processes: prepared at once, started at once, and its ranks end well once the time that their job's
/// command names has passed. It renews its lease, reports every gang it knows with it, and pulls what it missed.
/// </summary>
internal sealed class SimulatedNode : IAsyncDisposable
{
    private const string Reports = "scheduler-reports";
    private readonly ConcurrentDictionary<string, Member> gangs = new();
    private readonly CancellationTokenSource stopping = new();
    private readonly string node;
    private readonly string incarnation = Guid.NewGuid().ToString("N");
    private readonly NodeInventory inventory;
    private readonly IMessageBus bus;
    private readonly NodeService.NodeServiceClient scheduler;
    private readonly GangBoard board;
    private long applied;
    private long epoch;
    private IAsyncDisposable? receiving;
    private Task renewing = Task.CompletedTask;

    private SimulatedNode(string node, int devices, IMessageBus bus, GrpcChannel channel, GangBoard board)
    {
        (this.node, this.bus, this.board) = (node, bus, board);
        scheduler = new NodeService.NodeServiceClient(channel);
        inventory = new NodeInventory(
            node, [.. Enumerable.Range(0, devices).Select(index => new DeviceInfo(index, "cpu", 1L << 30))], 1L << 40, new Dictionary<string, string>(), "simulated");
    }

    public static async Task<SimulatedNode> StartAsync(string node, int devices, IMessageBus bus, GrpcChannel channel, GangBoard board)
    {
        var agent = new SimulatedNode(node, devices, bus, channel, board);
        agent.receiving = await bus.ReceiveAsync(
            $"node-{node}",
            [
                MessageHandler.For<PrepareGang>((message, _) => agent.FollowAsync(message.Assignment)),
                MessageHandler.For<StartGang>((message, _) => agent.FollowAsync(message.Assignment)),
                MessageHandler.For<StopGang>((message, _) => agent.FollowAsync(message.Assignment)),
            ],
            CancellationToken.None);
        var lease = await agent.RenewAsync();
        agent.renewing = agent.RenewForeverAsync(lease / 3);
        return agent;
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await renewing;
        if (receiving is not null)
            await receiving.DisposeAsync();
        stopping.Dispose();
    }

    private async Task RenewForeverAsync(TimeSpan interval)
    {
        using var timer = new PeriodicTimer(interval);
        try
        {
            while (await timer.WaitForNextTickAsync(stopping.Token))
                await RenewAsync();
        }
        catch (Exception e) when (stopping.IsCancellationRequested && e is OperationCanceledException or RpcException)
        {
            // Disposed.
        }
    }

    private async Task<TimeSpan> RenewAsync()
    {
        var request = new RenewLeaseRequest { Node = node, Incarnation = incarnation, AppliedVersion = applied, AgentAddress = "simulated" };
        request.Reports.AddRange(gangs.Values.Select(member => GangJson.Write(member.Report)));
        var renewed = await scheduler.RenewLeaseAsync(request, cancellationToken: stopping.Token);
        if (renewed.InventoryNeeded)
        {
            request.Inventory = GangJson.Write(inventory);
            renewed = await scheduler.RenewLeaseAsync(request, cancellationToken: stopping.Token);
        }

        epoch = renewed.Epoch;
        if (renewed.DesiredVersion == applied)
            return renewed.Lease.ToTimeSpan();
        var known = gangs.Keys.ToList();
        var wanted = await scheduler.GetAssignmentsAsync(new GetAssignmentsRequest { Node = node, Incarnation = incarnation }, cancellationToken: stopping.Token);
        var assignments = wanted.Assignments.Select(GangJson.Read<GangAssignment>).ToList();
        foreach (var assignment in assignments)
            await FollowAsync(assignment);
        foreach (string gone in known.Except(assignments.Select(assignment => assignment.Gang)))
        {
            if (gangs.TryGetValue(gone, out var member) && member.Report.Phase == MemberPhase.Released)
                gangs.TryRemove(gone, out _);
        }

        applied = wanted.Version;
        return renewed.Lease.ToTimeSpan();
    }

    private async Task FollowAsync(GangAssignment assignment)
    {
        var member = new Member(assignment, Report(assignment));
        var kept = gangs.AddOrUpdate(
            assignment.Gang, member, (_, before) => (before.Assignment.Attempt, before.Assignment.Phase).CompareTo((assignment.Attempt, assignment.Phase)) >= 0 ? before : member);
        if (!ReferenceEquals(kept, member))
            return;
        if (assignment.Phase == GangPhase.Prepare)
        {
            board.Prepare(NameOf(assignment));
        }
        else if (assignment.Phase == GangPhase.Start)
        {
            if (assignment.HostsRendezvous)
                board.Start(NameOf(assignment));
            _ = EndAsync(member);
        }
        else if (assignment.HostsRendezvous)
        {
            board.Stop(NameOf(assignment));
        }

        await SendAsync(member.Report);
    }

    /// <summary>The ranks end well after their time, unless they were stopped before.</summary>
    private async Task EndAsync(Member member)
    {
        try
        {
            await Task.Delay(TimeSpan.FromMilliseconds(double.Parse(CommandOf(member.Assignment)[2], CultureInfo.InvariantCulture)), stopping.Token);
            var ended = member with { Report = member.Report with { Phase = MemberPhase.Succeeded } };
            if (!gangs.TryUpdate(member.Assignment.Gang, ended, member))
                return;
            if (member.Assignment.HostsRendezvous)
                board.End(NameOf(member.Assignment));
            await SendAsync(ended.Report);
        }
        catch (OperationCanceledException)
        {
            // Disposed.
        }
    }

    private Task SendAsync(GangMemberReport report) => bus.SendAsync(Reports, new GangMemberChanged(report), stopping.Token);

    private GangMemberReport Report(GangAssignment assignment) => new()
    {
        Node = node,
        Incarnation = incarnation,
        Epoch = epoch,
        Gang = assignment.Gang,
        Attempt = assignment.Attempt,
        Phase = assignment.Phase switch
        {
            GangPhase.Prepare => MemberPhase.Prepared,
            GangPhase.Start => MemberPhase.Running,
            _ => MemberPhase.Released,
        },
        RendezvousAddress = assignment is { Phase: GangPhase.Prepare, HostsRendezvous: true } ? $"{node}:1" : null,
    };

    private string NameOf(GangAssignment assignment) => CommandOf(assignment)[1];

    private string[] CommandOf(GangAssignment assignment) => board.CommandOf(assignment.Gang, assignment.Workload);

    private sealed record Member(GangAssignment Assignment, GangMemberReport Report);
}
