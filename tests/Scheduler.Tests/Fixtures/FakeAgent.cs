using Grpc.Core;
using Grpc.Net.Client;
using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Internal.V1;

namespace Platform.Scheduler.Tests.Fixtures;

/// <summary>
/// A node agent without processes: it speaks the real lease calls and bus messages, prepares and starts at once, and its ranks
/// end when the test says so.
/// </summary>
internal sealed class FakeAgent : IAsyncDisposable
{
    private readonly Lock gate = new();
    private readonly Dictionary<string, (GangAssignment Assignment, GangMemberReport Report)> gangs = [];
    private readonly CancellationTokenSource stopping = new();
    private readonly IMessageBus bus;
    private readonly int devices;
    private Func<GrpcChannel> connect;
    private long applied;
    private long epoch;
    private IAsyncDisposable? receiving;
    private Task renewing = Task.CompletedTask;

    private FakeAgent(string node, int devices, IMessageBus bus, Func<GrpcChannel> connect) =>
        (Node, this.devices, this.bus, this.connect) = (node, devices, bus, connect);

    public string Node { get; }

    public string Incarnation { get; } = Guid.NewGuid().ToString("N");

    /// <summary>Answers a preparation; null is a yes.</summary>
    public Func<GangAssignment, GangFailure?> Preflight { get; set; } = _ => null;

    /// <summary>Stops every sign of life at once, as a machine does that loses its power.</summary>
    public bool Dead { get; set; }

    /// <summary>Messages that arrived.</summary>
    public int MessagesReceived { get; private set; }

    public NodeService.NodeServiceClient Nodes => new(connect());

    public static async Task<FakeAgent> StartAsync(string node, int devices, IMessageBus bus, Func<GrpcChannel> connect, CancellationToken cancellationToken)
    {
        var agent = new FakeAgent(node, devices, bus, connect);
        agent.receiving = await bus.ReceiveAsync(
            $"node-{node}",
            [
                MessageHandler.For<PrepareGang>((message, _) => agent.OnMessage(message.Assignment)),
                MessageHandler.For<StartGang>((message, _) => agent.OnMessage(message.Assignment)),
                MessageHandler.For<StopGang>((message, _) => agent.OnMessage(message.Assignment)),
            ],
            cancellationToken);
        await agent.RenewAsync(cancellationToken);
        agent.renewing = agent.RenewForeverAsync();
        return agent;
    }

    public GangAssignment? AssignmentOf(string gang)
    {
        lock (gate)
        {
            return gangs.TryGetValue(gang, out var known) ? known.Assignment : null;
        }
    }

    /// <summary>The ranks of a gang on this node end well.</summary>
    public Task SucceedAsync(string gang) => ChangeAsync(gang, report => report with { Phase = MemberPhase.Succeeded });

    /// <summary>A rank fails; the agent stops its others and releases.</summary>
    public async Task FailAsync(string gang, GangFailure failure)
    {
        await ChangeAsync(gang, report => report with { Phase = MemberPhase.Failed, Failure = failure });
        await ChangeAsync(gang, report => report with { Phase = MemberPhase.Released });
    }

    public async Task ProgressAsync(GangProgressReport report) => await bus.SendAsync("scheduler-reports", new GangProgressed(report), stopping.Token);

    /// <summary>Talks to another scheduler process from now on.</summary>
    public void Reconnect(Func<GrpcChannel> other) => connect = other;

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await renewing;
        if (receiving is not null)
        {
            await receiving.DisposeAsync();
        }

        stopping.Dispose();
    }

    private async Task RenewForeverAsync()
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(50));
        try
        {
            while (await timer.WaitForNextTickAsync(stopping.Token))
            {
                try
                {
                    await RenewAsync(stopping.Token);
                }
                catch (RpcException)
                {
                    // The scheduler is away.
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Disposed.
        }
    }

    private async Task RenewAsync(CancellationToken cancellationToken)
    {
        if (Dead)
        {
            return;
        }

        var request = new RenewLeaseRequest { Node = Node, Incarnation = Incarnation, AppliedVersion = applied, AgentAddress = "fake" };
        lock (gate)
        {
            request.Reports.AddRange(gangs.Values.Select(known => GangJson.Write(known.Report)));
        }

        var renewed = await Nodes.RenewLeaseAsync(request, cancellationToken: cancellationToken);
        if (renewed.InventoryNeeded)
        {
            request.Inventory = GangJson.Write(new NodeInventory(
                Node, [.. Enumerable.Range(0, devices).Select(index => new DeviceInfo(index, "cpu", 1L << 30))], 64L << 30, new Dictionary<string, string>(), "fake"));
            renewed = await Nodes.RenewLeaseAsync(request, cancellationToken: cancellationToken);
        }

        epoch = renewed.Epoch;
        if (renewed.DesiredVersion == applied)
        {
            return;
        }

        var wanted = await Nodes.GetAssignmentsAsync(new GetAssignmentsRequest { Node = Node, Incarnation = Incarnation }, cancellationToken: cancellationToken);
        var assignments = wanted.Assignments.Select(GangJson.Read<GangAssignment>).ToList();
        foreach (var assignment in assignments)
        {
            await FollowAsync(assignment);
        }

        lock (gate)
        {
            foreach (string gang in gangs.Keys.Where(gang => assignments.All(assignment => assignment.Gang != gang)).ToList())
            {
                gangs.Remove(gang);
            }

            applied = wanted.Version;
        }
    }

    private Task OnMessage(GangAssignment assignment)
    {
        MessagesReceived++;
        return Dead ? Task.CompletedTask : FollowAsync(assignment);
    }

    private async Task FollowAsync(GangAssignment assignment)
    {
        GangMemberReport? report = null;
        lock (gate)
        {
            if (gangs.TryGetValue(assignment.Gang, out var known)
                && (known.Assignment.Attempt, known.Assignment.Phase).CompareTo((assignment.Attempt, assignment.Phase)) >= 0)
            {
                return;
            }

            report = assignment.Phase switch
            {
                GangPhase.Prepare => Preflight(assignment) is { } refusal
                    ? Report(assignment, MemberPhase.Failed) with { Failure = refusal }
                    : Report(assignment, MemberPhase.Prepared) with { RendezvousAddress = $"{Node}:1" },
                GangPhase.Start => Report(assignment, MemberPhase.Running) with
                {
                    ProcessIds = assignment.Ranks.ToDictionary(rank => rank.Rank, rank => 1000 + rank.Rank),
                    ReplicaEndpoint = assignment.Kind == WorkloadKind.Serving ? $"http://{Node}:{9000 + assignment.Attempt}" : null,
                },
                _ => (known.Report ?? Report(assignment, MemberPhase.Released)) with { Phase = MemberPhase.Released, Attempt = assignment.Attempt },
            };
            gangs[assignment.Gang] = (assignment, report);
        }

        await SendAsync(report);
    }

    private async Task ChangeAsync(string gang, Func<GangMemberReport, GangMemberReport> change)
    {
        GangMemberReport report;
        lock (gate)
        {
            var (assignment, before) = gangs[gang];
            gangs[gang] = (assignment, report = change(before));
        }

        await SendAsync(report);
    }

    private Task SendAsync(GangMemberReport report) => bus.SendAsync("scheduler-reports", new GangMemberChanged(report), stopping.Token);

    private GangMemberReport Report(GangAssignment assignment, MemberPhase phase) => new()
    {
        Node = Node,
        Incarnation = Incarnation,
        Epoch = epoch,
        Gang = assignment.Gang,
        Attempt = assignment.Attempt,
        Phase = phase,
    };
}
