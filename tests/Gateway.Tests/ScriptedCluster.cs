using System.Collections.Concurrent;
using System.Globalization;
using System.Threading.Channels;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Hosting.Errors;
using Platform.Hosting.Network;
using Platform.Internal.V1;
using Platform.Text.Tokenization;
using Platform.Text.Training;
using Platform.V1;

namespace Platform.Gateway.Tests;

/// <summary>A gateway with a scripted scheduler and scripted replicas around it, all on real sockets.</summary>
internal sealed class ScriptedCluster : IAsyncDisposable
{
    private readonly WebApplication _schedulerHost;
    private readonly List<WebApplication> _replicaHosts = [];
    private readonly string _model = Directory.CreateTempSubdirectory("gateway-test-").FullName;

    private ScriptedCluster(ScriptedScheduler scheduler, WebApplication host)
    {
        Scheduler = scheduler;
        _schedulerHost = host;
    }

    public ScriptedScheduler Scheduler { get; }

    public WebApplication Gateway { get; private set; } = null!;

    public string Http => Gateway.Address(GatewayApplication.HttpListener);

    public string Grpc => Gateway.Address(GatewayApplication.GrpcListener);

    public ITextTokenizer Tokenizer => TokenizerDirectory.Open(_model).Tokenizer;

    public static async Task<ScriptedCluster> StartAsync(params string[] settings)
    {
        var scheduler = new ScriptedScheduler();
        var host = await HostAsync(services => services.AddSingleton(scheduler).AddGrpc(options => options.Interceptors.Add<ErrorInterceptor>()), app =>
        {
            app.MapGrpcService<ScriptedScheduler.Endpoints>();
            app.MapGrpcService<ScriptedScheduler.Jobs>();
        });
        var cluster = new ScriptedCluster(scheduler, host);
        var tokenizer = BpeTrainer.Train(
            ["the quick brown fox jumps over the lazy dog. "],
            new BpeTrainingOptions { VocabularySize = 300, SpecialTokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] },
            null,
            CancellationToken.None);
        TokenizerDirectory.ForOwn(tokenizer).Save(cluster._model);
        cluster.Gateway = GatewayApplication.Build(
            [
                "--Gateway:HttpListen=127.0.0.1:0", "--Gateway:GrpcListen=127.0.0.1:0",
                $"--Gateway:SchedulerAddress={AddressOf(host)}", .. settings,
            ],
            builder => builder.Logging.ClearProviders());
        await cluster.Gateway.StartAsync();
        return cluster;
    }

    /// <summary>Adds a replica to a deployment and waits until the gateway routes to it.</summary>
    public async Task<ScriptedReplica> AddReplicaAsync(string deployment = "fox", GenerationDefaults? generation = null)
    {
        var replica = new ScriptedReplica();
        var host = await HostAsync(services => services.AddSingleton(replica).AddGrpc(), app => app.MapGrpcService<ScriptedReplica.Engine>());
        _replicaHosts.Add(host);
        replica.Stop = () => host.StopAsync();
        replica.Address = AddressOf(host);
        await DeployAsync(deployment, [.. Scheduler.EndpointsOf(deployment), replica.Address], generation);
        return replica;
    }

    public async Task DeployAsync(string deployment, IEnumerable<string> endpoints, GenerationDefaults? generation = null, params string[] adapters)
    {
        var route = new DeploymentRoute
        {
            DeploymentId = deployment,
            Project = "default",
            ModelPath = _model,
            ModelVersion = 1,
            ContextLength = 256,
            Generation = generation,
            CreateTimeUnix = 1_700_000_000,
        };
        route.Endpoints.AddRange(endpoints);
        route.Adapters.AddRange(adapters);
        var table = Gateway.Services.GetRequiredService<Inference.RoutingTable>();
        Scheduler.Publish(route);
        while (!(table.Routes.TryGetValue(deployment, out var known) && known.Equals(route)))
        {
            var changed = table.Changed;
            if (table.Routes.TryGetValue(deployment, out known) && known.Equals(route))
                break;
            await changed;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Gateway.StopAsync();
        await Gateway.DisposeAsync();
        foreach (var host in _replicaHosts.Append(_schedulerHost))
        {
            await host.StopAsync();
            await host.DisposeAsync();
        }
        Directory.Delete(_model, recursive: true);
    }

    private static async Task<WebApplication> HostAsync(Action<IServiceCollection> configure, Action<WebApplication> map)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2));
        configure(builder.Services);
        var app = builder.Build();
        map(app);
        await app.StartAsync();
        return app;
    }

    private static string AddressOf(WebApplication app) => app.Urls.First();
}

/// <summary>A scheduler that says what the test wants it to say.</summary>
internal sealed class ScriptedScheduler
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, DeploymentRoute> _routes = [];
    private readonly List<Channel<WatchEndpointsResponse>> _watchers = [];
    private long _version;

    public Func<CreateJobRequest, Job> OnCreateJob { get; set; } = request => new Job { Name = $"{request.Parent}/jobs/x", Spec = request.Spec };

    public List<string> Woken { get; } = [];

    public Action<string> OnWake { get; set; } = _ => { };

    public IEnumerable<string> EndpointsOf(string deployment)
    {
        lock (_gate)
            return _routes.TryGetValue(deployment, out var route) ? [.. route.Endpoints] : [];
    }

    public void Publish(DeploymentRoute route)
    {
        lock (_gate)
        {
            _routes[route.DeploymentId] = route;
            foreach (var watcher in _watchers)
                watcher.Writer.TryWrite(Table());
        }
    }

    private WatchEndpointsResponse Table()
    {
        var table = new WatchEndpointsResponse { Version = ++_version };
        table.Routes.AddRange(_routes.Values);
        return table;
    }

    internal sealed class Endpoints(ScriptedScheduler scheduler) : EndpointService.EndpointServiceBase
    {
        public override async Task WatchEndpoints(
            WatchEndpointsRequest request, IServerStreamWriter<WatchEndpointsResponse> responseStream, ServerCallContext context)
        {
            var channel = Channel.CreateUnbounded<WatchEndpointsResponse>();
            lock (scheduler._gate)
            {
                scheduler._watchers.Add(channel);
                channel.Writer.TryWrite(scheduler.Table());
            }
            await foreach (var table in channel.Reader.ReadAllAsync(context.CancellationToken))
                await responseStream.WriteAsync(table, context.CancellationToken);
        }

        public override Task<WakeDeploymentResponse> WakeDeployment(WakeDeploymentRequest request, ServerCallContext context)
        {
            lock (scheduler._gate)
                scheduler.Woken.Add(request.DeploymentId);
            scheduler.OnWake(request.DeploymentId);
            return Task.FromResult(new WakeDeploymentResponse());
        }
    }

    internal sealed class Jobs(ScriptedScheduler scheduler) : JobService.JobServiceBase
    {
        public override Task<Job> CreateJob(CreateJobRequest request, ServerCallContext context) => Task.FromResult(
            scheduler.OnCreateJob(request) is var job && job.User.Length == 0 ? new Job(job) { User = CallerHeader.Read(context) } : job);

        public override Task<Job> GetJob(GetJobRequest request, ServerCallContext context) =>
            request.Name.EndsWith("/known", StringComparison.Ordinal)
                ? Task.FromResult(new Job { Name = request.Name, State = JobState.Running, CreateTime = Timestamp.FromDateTimeOffset(DateTimeOffset.UnixEpoch) })
                : throw new NotFoundException(request.Name);

        // One line, then nothing until the caller leaves.
        public override async Task StreamLogs(
            StreamLogsRequest request, IServerStreamWriter<StreamLogsResponse> responseStream, ServerCallContext context)
        {
            await responseStream.WriteAsync(new StreamLogsResponse { Line = "one" }, context.CancellationToken);
            await Task.Delay(Timeout.Infinite, context.CancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        public override async Task WatchJob(
            WatchJobRequest request, IServerStreamWriter<WatchJobResponse> responseStream, ServerCallContext context)
        {
            foreach (var state in new[] { JobState.Queued, JobState.Running, JobState.Succeeded })
                await responseStream.WriteAsync(new WatchJobResponse { Job = new Job { Name = request.Name, State = state } }, context.CancellationToken);
        }
    }
}

/// <summary>A replica that answers with "t0 t1 t2 …" and can be told to fail.</summary>
internal sealed class ScriptedReplica
{
    public string Address { get; set; } = "";

    public Func<Task> Stop { get; set; } = () => Task.CompletedTask;

    public ConcurrentQueue<EngineGenerateRequest> Requests { get; } = new();

    /// <summary>Dies after so many tokens of a request.</summary>
    public int? DieAfter { get; set; }

    /// <summary>Refuses with this status.</summary>
    public RpcException? Refuse { get; set; }

    /// <summary>Sends one token, then waits for the caller to leave; completes when it did.</summary>
    public TaskCompletionSource? Hang { get; set; }

    internal sealed class Engine(ScriptedReplica replica) : EngineService.EngineServiceBase
    {
        public override Task<EngineEmbedResponse> Embed(EngineEmbedRequest request, ServerCallContext context)
        {
            var response = new EngineEmbedResponse { Usage = new Usage { PromptTokens = request.Inputs.Sum(input => input.TokenIds.Count) } };
            response.Embeddings.AddRange(request.Inputs.Select((_, i) => new Embedding { Values = { i, 0.5f } }));
            return Task.FromResult(response);
        }

        public override async Task Generate(
            EngineGenerateRequest request, IServerStreamWriter<EngineGenerateResponse> responseStream, ServerCallContext context)
        {
            replica.Requests.Enqueue(request);
            if (replica.Refuse is { } refusal)
                throw refusal;
            int choices = request.Sampling.HasN ? request.Sampling.N : 1;
            for (int i = request.ProducedTokens.Count; i < request.Sampling.MaxTokens; i++)
            {
                if (replica.DieAfter is { } last && i >= last)
                    throw new RpcException(new Status(StatusCode.Unavailable, "gone"));
                for (int choice = 0; choice < choices; choice++)
                {
                    bool end = i == request.Sampling.MaxTokens - 1;
                    var response = new EngineGenerateResponse
                    {
                        Choice = choice,
                        FirstIndex = i,
                        Text = string.Create(CultureInfo.InvariantCulture, $"t{i} "),
                        FinishReason = end ? "length" : "",
                    };
                    response.TokenIds.Add(i);
                    if (end && choice == choices - 1)
                        response.Usage = new Usage { PromptTokens = request.PromptTokens.Count, CompletionTokens = request.Sampling.MaxTokens * choices, DeviceSeconds = 0.36 };
                    await responseStream.WriteAsync(response, context.CancellationToken);
                }
                if (replica.Hang is { } hang)
                {
                    try
                    {
                        await Task.Delay(Timeout.Infinite, context.CancellationToken);
                    }
                    finally
                    {
                        hang.TrySetResult();
                    }
                }
            }
        }
    }
}
