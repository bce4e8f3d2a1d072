using System.Collections.Concurrent;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Core.Gangs;
using Platform.Hosting;
using Platform.Hosting.Network;
using Platform.Internal.V1;
using Platform.Testing;

namespace Platform.Worker.Agent.Tests.Adapters;

/// <summary>The scheduler's side of NodeService, scripted: a real server that wants what the test says.</summary>
internal sealed class SchedulerPeer : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, GangAssignment> _wanted = [];
    private readonly ConcurrentQueue<GangMemberReport> _reports = new();
    private WebApplication? _app;
    private long _version;

    public string Address { get; private set; } = "";

    public long Epoch { get; set; } = 1;

    public TimeSpan Lease { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>Answers no call while set.</summary>
    public bool IsGone { get; set; }

    public ConcurrentQueue<CommitCheckpointRequest> Commits { get; } = new();

    public ConcurrentQueue<RegisterModelRequest> Models { get; } = new();

    public int RefusedCommits { get; set; }

    public IReadOnlyList<GangMemberReport> Reports => [.. _reports];

    public int Renewals { get; private set; }

    public string LastIncarnation { get; private set; } = "";

    /// <summary>What the agent said last of the time that its machine has left.</summary>
    public TimeSpan? LeavesIn { get; private set; }

    public static async Task<SchedulerPeer> StartAsync()
    {
        var peer = new SchedulerPeer();
        WebApplicationBuilder builder = PlatformHost.CreateBuilder("test-scheduler", []);
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton(peer);
        builder.ListenGrpc("grpc", ListenAddress.Loopback);
        peer._app = builder.Build();
        peer._app.MapPlatformDefaults();
        peer._app.MapGrpcService<Nodes>();
        await peer._app.StartAsync();
        peer.Address = peer._app.Address("grpc");
        return peer;
    }

    /// <summary>Takes a report that came another way than with a renewal.</summary>
    public void Take(GangMemberReport report) => _reports.Enqueue(report);

    public void Want(GangAssignment assignment)
    {
        lock (_gate)
        {
            _wanted[assignment.Gang] = assignment;
            _version++;
        }
    }

    public void Forget(string gang)
    {
        lock (_gate)
        {
            _wanted.Remove(gang);
            _version++;
        }
    }

    public Task<GangMemberReport> WaitForAsync(Func<GangMemberReport, bool> wanted, string what) =>
        Waiting.ForAsync(() => _reports.FirstOrDefault(wanted), $"{what}; reported so far: {string.Join(", ", _reports.Select(r => $"{r.Gang}/{r.Attempt} {r.Phase} {r.Failure?.Message}"))}");

    public Task<GangMemberReport> WaitForAsync(string gang, MemberPhase phase) =>
        WaitForAsync(r => r.Gang == gang && r.Phase == phase, $"{gang} {phase}");

    public async ValueTask DisposeAsync()
    {
        if (_app is not null)
        {
            await _app.DisposeAsync();
        }
    }

    private sealed class Nodes(SchedulerPeer peer) : NodeService.NodeServiceBase
    {
        public override Task<RenewLeaseResponse> RenewLease(RenewLeaseRequest request, ServerCallContext context)
        {
            Answer();
            peer.Renewals++;
            peer.LastIncarnation = request.Incarnation;
            peer.LeavesIn = request.LeavesIn?.ToTimeSpan();
            foreach (string report in request.Reports)
            {
                peer._reports.Enqueue(GangJson.Read<GangMemberReport>(report));
            }

            lock (peer._gate)
            {
                return Task.FromResult(new RenewLeaseResponse
                {
                    Epoch = peer.Epoch,
                    Lease = Duration.FromTimeSpan(peer.Lease),
                    DesiredVersion = peer._version,
                });
            }
        }

        public override Task<GetAssignmentsResponse> GetAssignments(GetAssignmentsRequest request, ServerCallContext context)
        {
            Answer();
            lock (peer._gate)
            {
                return Task.FromResult(new GetAssignmentsResponse
                {
                    Epoch = peer.Epoch,
                    Version = peer._version,
                    Assignments = { peer._wanted.Values.Select(GangJson.Write) },
                });
            }
        }

        public override Task<CommitCheckpointResponse> CommitCheckpoint(CommitCheckpointRequest request, ServerCallContext context)
        {
            Answer();
            if (peer.RefusedCommits > 0)
            {
                peer.RefusedCommits--;
                throw new RpcException(new Status(StatusCode.Unavailable, "not now"));
            }

            peer.Commits.Enqueue(request);
            return Task.FromResult(new CommitCheckpointResponse { ExpiredDirectories = { "old" }, KeptDirectories = { "kept" } });
        }

        public override Task<RegisterModelResponse> RegisterModel(RegisterModelRequest request, ServerCallContext context)
        {
            Answer();
            peer.Models.Enqueue(request);
            return Task.FromResult(new RegisterModelResponse { Model = $"projects/default/models/{request.ModelId}", Version = 1 });
        }

        private void Answer()
        {
            if (peer.IsGone)
            {
                throw new RpcException(new Status(StatusCode.Unavailable, "gone"));
            }
        }
    }
}
