using System.Collections.Concurrent;
using System.Threading.Channels;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Hosting.Ranks;
using Platform.Internal.V1;
using Platform.V1;

namespace Platform.Serving.Tests.Service;

public sealed class LaunchedReplicaTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Tells_its_agent_where_it_serves_and_ends_when_told_to()
    {
        using var root = new ArtifactRoot();
        await using var agent = await Agent.StartAsync(root.Path);
        var running = LaunchedReplica.RunAsync(Launch(root, agent, new DeploymentSpec { Model = "m", Engine = new EngineOptions { Dtype = "fp32" } }));
        var ready = await agent.ReportAsync(report => report.Phase == "serving" && report.ReplicaEndpoint.Length > 0);
        Assert.StartsWith("http://127.0.0.1:", ready.ReplicaEndpoint, StringComparison.Ordinal);

        using (var channel = GrpcChannel.ForAddress(ready.ReplicaEndpoint))
        {
            var client = new EngineService.EngineServiceClient(channel);
            var description = await client.DescribeAsync(new DescribeRequest(), cancellationToken: Cancel);
            Assert.Equal(("shakespeare", Path.Combine(root.Path, "models/m/1")), (description.Model, description.ModelPath));
            using var call = client.Generate(RunningReplica.Request([1, 2], new SamplingParams { MaxTokens = 3 }).For("shakespeare"), cancellationToken: Cancel);
            Assert.True(await call.ResponseStream.MoveNext(Cancel));
        }

        using (var http = new HttpClient())
            Assert.Contains("platform_serving_num_requests_running", await http.GetStringAsync(new Uri(ready.MetricsEndpoint), Cancel), StringComparison.Ordinal);
        agent.Stop();
        Assert.Equal(RankExitCode.Stopped, await running);
    }

    [Fact]
    public async Task A_model_that_cannot_be_read_is_a_permanent_failure_with_its_reason()
    {
        using var root = new ArtifactRoot();
        File.Delete(Path.Combine(root.Path, "models/m/1/model-00001-of-00003.safetensors"));
        await using var agent = await Agent.StartAsync(root.Path);
        Assert.Equal(RankExitCode.Failed, await LaunchedReplica.RunAsync(Launch(root, agent, new DeploymentSpec { Model = "m" })));
        var failure = await agent.ReportAsync(report => report.FailureReason.Length > 0);
        Assert.Equal("INPUT_UNREADABLE", failure.FailureReason);
        Assert.Contains("model-00001-of-00003", failure.FailureMessage, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Two_ranks_serve_as_one_and_end_when_told_to()
    {
        using var root = new ArtifactRoot();
        await using var agent = await Agent.StartAsync(root.Path);
        var spec = new DeploymentSpec
        {
            Model = "m",
            Engine = new EngineOptions { Dtype = "fp32", Speculative = new SpeculativeOptions() },
            Scaling = new ScalingOptions { DevicesPerReplica = 2, TensorParallel = 2 },
        };
        var ranks = Enumerable.Range(0, 2).Select(rank => RunAsync(Launch(root, agent, spec, rank, 2))).ToArray();
        var ready = await agent.ReportAsync(report => report.ReplicaEndpoint.Length > 0);
        Assert.Equal(0, ready.Rank);

        using (var channel = GrpcChannel.ForAddress(ready.ReplicaEndpoint))
        {
            var client = new EngineService.EngineServiceClient(channel);
            foreach (var prompt in new int[][] { [1, 2], RunningReplica.Prompt(40, 1), RunningReplica.Prompt(7, 2) })
            {
                var output = new Output();
                using var call = client.Generate(RunningReplica.Request(prompt, new SamplingParams { Temperature = 0, MaxTokens = 12, IgnoreEos = true }).For("shakespeare"), cancellationToken: Cancel);
                while (await call.ResponseStream.MoveNext(Cancel))
                    output.Add(call.ResponseStream.Current);
                Assert.Equal(new ScalarForward(new TinyModel(TinyModel.Shape, 4)).Greedy(prompt, 12), output.Only);
            }
        }

        agent.Stop();
        Assert.All(await Task.WhenAll(ranks), code => Assert.Equal(RankExitCode.Stopped, code));
    }

    [Fact]
    public async Task A_width_that_does_not_fit_the_model_is_refused_by_key_on_every_rank()
    {
        using var root = new ArtifactRoot();
        await using var agent = await Agent.StartAsync(root.Path);
        var spec = new DeploymentSpec { Model = "m", Scaling = new ScalingOptions { DevicesPerReplica = 4, TensorParallel = 4 } };
        var ranks = Enumerable.Range(0, 4).Select(rank => RunAsync(Launch(root, agent, spec, rank, 4))).ToArray();
        Assert.All(await Task.WhenAll(ranks), code => Assert.Equal(RankExitCode.Failed, code));
        var failure = await agent.ReportAsync(report => report.FailureReason.Length > 0);
        Assert.True(failure.FailurePermanent);
        Assert.Contains("scaling_config.tensor_parallel: Found 4; it must divide the model's 6 attention heads.", failure.FailureMessage, StringComparison.Ordinal);
    }

    // Loading a model keeps its thread busy, and a leader waits for its followers there.
    private static Task<int> RunAsync(RankLaunch launch) => Task.Run(() => LaunchedReplica.RunAsync(launch), Cancel);

    private static RankLaunch Launch(ArtifactRoot root, Agent agent, DeploymentSpec spec, int rank = 0, int ranks = 1) => new()
    {
        Gang = "replicas/r1",
        Attempt = 1,
        Rank = rank,
        WorldSize = ranks,
        Node = "n1",
        Devices = [0],
        DeviceMilli = 1000,
        DeviceMemoryBytes = 1L << 30,
        ComputeThreads = 2,
        Token = "t",
        AgentSocket = agent.Socket,
        RendezvousAddress = ranks == 1 ? null : $"unix:{agent.Socket}",
        AdvertisedHost = "127.0.0.1",
        SharedMemoryDirectory = root.Path,
        ArtifactRoot = root.Path,
        Kind = WorkloadKind.Serving,
        Workload = GangJson.Write(new ReplicaWorkload("shakespeare", "default", "models/m/1", 1, spec)),
    };

    private sealed class ArtifactRoot : IDisposable
    {
        public ArtifactRoot()
        {
            var directory = Directory.CreateDirectory(System.IO.Path.Combine(Path, "models/m/1"));
            new TinyModel(TinyModel.Shape, 4).Write(directory.FullName);
        }

        public string Path { get; } = Directory.CreateTempSubdirectory("serving-test-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }

    /// <summary>An agent's socket: keeps the reports and sends one command.</summary>
    private sealed class Agent : IAsyncDisposable
    {
        private readonly WebApplication _app;
        private readonly Script _script;

        private Agent(WebApplication app, Script script, string socket) => (_app, _script, Socket) = (app, script, socket);

        public string Socket { get; }

        public static async Task<Agent> StartAsync(string directory)
        {
            var socket = Path.Combine(directory, "agent.sock");
            var script = new Script();
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.ConfigureKestrel(kestrel => kestrel.ListenUnixSocket(socket, listen => listen.Protocols = HttpProtocols.Http2));
            builder.Services.AddGrpc();
            builder.Services.AddSingleton(script);
            var app = builder.Build();
            app.MapGrpcService<Ranks>();
            app.MapGrpcService<Rendezvous>();
            await app.StartAsync(Cancel);
            return new Agent(app, script, socket);
        }

        public void Stop() => _script.Stop.TrySetResult();

        public async Task<ReportRequest> ReportAsync(Func<ReportRequest, bool> condition)
        {
            await foreach (var report in _script.Reports.Reader.ReadAllAsync(Cancel))
            {
                if (condition(report))
                    return report;
            }

            throw new InvalidOperationException("The reports ended.");
        }

        public async ValueTask DisposeAsync()
        {
            _script.End.TrySetResult();
            await _app.DisposeAsync();
        }
    }

    private sealed class Script
    {
        public Channel<ReportRequest> Reports { get; } = Channel.CreateBounded<ReportRequest>(10_000);

        public ConcurrentDictionary<int, RankAddress> Joined { get; } = [];

        public TaskCompletionSource AllJoined { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource Stop { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource End { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private sealed class Rendezvous(Script script) : RendezvousService.RendezvousServiceBase
    {
        public override async Task<JoinResponse> Join(JoinRequest request, ServerCallContext context)
        {
            script.Joined[request.Rank] = new RankAddress { Rank = request.Rank, Host = request.Host, Port = request.Port, Node = request.Node };
            if (script.Joined.Count == request.WorldSize)
                script.AllJoined.TrySetResult();
            await script.AllJoined.Task.WaitAsync(context.CancellationToken);
            return new JoinResponse { Ranks = { script.Joined.Values.OrderBy(address => address.Rank) } };
        }
    }

    private sealed class Ranks(Script script) : RankService.RankServiceBase
    {
        public override Task<HelloResponse> Hello(HelloRequest request, ServerCallContext context) => Task.FromResult(new HelloResponse());

        public override Task<ReportResponse> Report(ReportRequest request, ServerCallContext context)
        {
            Assert.True(script.Reports.Writer.TryWrite(request));
            return Task.FromResult(new ReportResponse());
        }

        public override async Task WatchCommands(
            WatchCommandsRequest request, IServerStreamWriter<WatchCommandsResponse> responseStream, ServerCallContext context)
        {
            await context.WriteResponseHeadersAsync([]);
            var gone = new TaskCompletionSource();
            using var registration = context.CancellationToken.Register(() => gone.TrySetResult());
            if (await Task.WhenAny(script.Stop.Task, script.End.Task, gone.Task) == script.Stop.Task)
                await responseStream.WriteAsync(new WatchCommandsResponse { StopReason = "the test asks", GraceSeconds = 5 });
            await Task.WhenAny(script.End.Task, gone.Task);
        }
    }
}

internal static class RequestExtensions
{
    public static EngineGenerateRequest For(this EngineGenerateRequest request, string model)
    {
        request.Model = model;
        return request;
    }
}
