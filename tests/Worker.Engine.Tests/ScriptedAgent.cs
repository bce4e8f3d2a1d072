using System.Collections.Concurrent;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Internal.V1;

namespace Platform.Worker.Engine.Tests;

/// <summary>
/// The other end of a rank's connections: a real server on a Unix socket, and a rendezvous on a port, that write down what
/// they are told and answer as a test says.
/// </summary>
internal sealed class ScriptedAgent : IAsyncDisposable
{
    private readonly WebApplication _application;

    private ScriptedAgent(WebApplication application, string socket, string rendezvous, AgentScript script)
    {
        _application = application;
        Socket = socket;
        Rendezvous = rendezvous;
        Script = script;
    }

    public string Socket { get; }

    public string Rendezvous { get; }

    public AgentScript Script { get; }

    public static async Task<ScriptedAgent> StartAsync(string directory, int worldSize, CancellationToken cancellationToken)
    {
        var socket = Path.Combine(directory, "agent.sock");
        var script = new AgentScript(worldSize);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.ListenUnixSocket(socket, listen => listen.Protocols = HttpProtocols.Http2);
            kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2);
        });
        builder.Services.AddGrpc();
        builder.Services.AddSingleton(script);
        var application = builder.Build();
        application.MapGrpcService<Ranks>();
        application.MapGrpcService<Meeting>();
        await application.StartAsync(cancellationToken);
        var addresses = application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses;
        return new ScriptedAgent(application, socket, addresses.Single(address => address.StartsWith("http://127.", StringComparison.Ordinal)), script);
    }

    public async ValueTask DisposeAsync()
    {
        Script.End();
        await _application.DisposeAsync();
        Script.Dispose();
    }

    private sealed class Ranks(AgentScript script) : RankService.RankServiceBase
    {
        public override Task<HelloResponse> Hello(HelloRequest request, ServerCallContext context) => Task.FromResult(new HelloResponse());

        public override Task<ReportResponse> Report(ReportRequest request, ServerCallContext context)
        {
            script.Reports.Enqueue(request);
            return Task.FromResult(new ReportResponse());
        }

        public override Task<RankCommitCheckpointResponse> CommitCheckpoint(RankCommitCheckpointRequest request, ServerCallContext context)
        {
            if (script.RefuseCommits)
                throw new RpcException(new Status(StatusCode.FailedPrecondition, "attempt 1 is over"));
            script.Commits.Enqueue(request);
            return Task.FromResult(new RankCommitCheckpointResponse());
        }

        public override Task<RankRegisterModelResponse> RegisterModel(RankRegisterModelRequest request, ServerCallContext context)
        {
            script.Models.Enqueue(request);
            return Task.FromResult(new RankRegisterModelResponse { Model = $"projects/default/models/{request.ModelId}" });
        }

        public override async Task WatchCommands(
            WatchCommandsRequest request, IServerStreamWriter<WatchCommandsResponse> responseStream, ServerCallContext context)
        {
            await context.WriteResponseHeadersAsync([]);
            var ended = new TaskCompletionSource();
            using var hangUp = context.CancellationToken.Register(() => ended.TrySetResult());
            using var end = script.Ended.Register(() => ended.TrySetResult());
            if (await Task.WhenAny(script.StopCommand, ended.Task) == script.StopCommand)
                await responseStream.WriteAsync(await script.StopCommand);
            await ended.Task;
        }
    }

    private sealed class Meeting(AgentScript script) : RendezvousService.RendezvousServiceBase
    {
        public override Task<JoinResponse> Join(JoinRequest request, ServerCallContext context) => script.JoinAsync(request);
    }
}

/// <summary>What ranks said, and what they are answered.</summary>
internal sealed class AgentScript(int worldSize) : IDisposable
{
    private readonly CancellationTokenSource _end = new();
    private readonly ConcurrentDictionary<int, RankAddress> _joined = new();
    private readonly TaskCompletionSource<JoinResponse> _everyone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<WatchCommandsResponse> _stop = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ConcurrentQueue<ReportRequest> Reports { get; } = new();

    public ConcurrentQueue<RankCommitCheckpointRequest> Commits { get; } = new();

    public ConcurrentQueue<RankRegisterModelRequest> Models { get; } = new();

    public bool RefuseCommits { get; init; }

    public CancellationToken Ended => _end.Token;

    public Task<WatchCommandsResponse> StopCommand => _stop.Task;

    public IEnumerable<StepPoint> Points => Reports.SelectMany(report => report.Points).DistinctBy(point => point.Step).OrderBy(point => point.Step);

    public void Stop(bool checkpoint) =>
        _stop.TrySetResult(new WatchCommandsResponse { StopReason = "the test asks", GraceSeconds = 30, Checkpoint = checkpoint });

    public Task<JoinResponse> JoinAsync(JoinRequest request)
    {
        _joined[request.Rank] = new RankAddress { Rank = request.Rank, Host = request.Host, Port = request.Port, Node = request.Node };
        if (_joined.Count == worldSize)
            _everyone.TrySetResult(new JoinResponse { Ranks = { _joined.Values.OrderBy(rank => rank.Rank) } });
        return _everyone.Task;
    }

    public void End() => _end.Cancel();

    public void Dispose() => _end.Dispose();
}
