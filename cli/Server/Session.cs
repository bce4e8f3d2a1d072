using Google.LongRunning;
using Grpc.Core;
using Grpc.Net.Client;
using Grpc.Net.Client.Configuration;
using Platform.V1;

namespace Platform.Cli.Server;

/// <summary>A connection to one server for one run of a command. Nothing is sent before the first call.</summary>
internal sealed class Session : IDisposable
{
    private static readonly TimeSpan UnaryDeadline = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan GenerationDeadline = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan StreamDeadline = TimeSpan.FromHours(12);

    private readonly GrpcChannel _channel;
    private readonly Metadata _headers = [];

    /// <summary>Prepares a connection.</summary>
    /// <param name="server">The gRPC address.</param>
    /// <param name="apiKey">Key sent as a bearer token; null for none.</param>
    /// <param name="project">Project of bare ids.</param>
    public Session(Uri server, string? apiKey, string project)
    {
        Server = server;
        Names = new ResourceNames(project);
        if (!string.IsNullOrEmpty(apiKey))
            _headers.Add("authorization", $"Bearer {apiKey}");
        _channel = GrpcChannel.ForAddress(server, new GrpcChannelOptions
        {
            HttpHandler = new SocketsHttpHandler
            {
                ConnectTimeout = TimeSpan.FromSeconds(5),
                KeepAlivePingDelay = TimeSpan.FromSeconds(30),
                KeepAlivePingTimeout = TimeSpan.FromSeconds(20),
                EnableMultipleHttp2Connections = true,
            },
            DisposeHttpClient = true,
            MaxReceiveMessageSize = 64 << 20,
            ServiceConfig = new ServiceConfig { MethodConfigs = { RetryControlCalls() } },
        });
        Jobs = new JobService.JobServiceClient(_channel);
        Models = new ModelService.ModelServiceClient(_channel);
        Deployments = new DeploymentService.DeploymentServiceClient(_channel);
        Cluster = new ClusterService.ClusterServiceClient(_channel);
        Inference = new InferenceService.InferenceServiceClient(_channel);
        Operations = new Operations.OperationsClient(_channel);
    }

    /// <summary>The gRPC address.</summary>
    public Uri Server { get; }

    /// <summary>The server is on this machine.</summary>
    public bool IsLocal => Server.IsLoopback;

    /// <summary>Full resource names.</summary>
    public ResourceNames Names { get; }

    /// <summary>Jobs.</summary>
    public JobService.JobServiceClient Jobs { get; }

    /// <summary>Registered models.</summary>
    public ModelService.ModelServiceClient Models { get; }

    /// <summary>Deployments.</summary>
    public DeploymentService.DeploymentServiceClient Deployments { get; }

    /// <summary>Nodes and queues.</summary>
    public ClusterService.ClusterServiceClient Cluster { get; }

    /// <summary>Generation.</summary>
    public InferenceService.InferenceServiceClient Inference { get; }

    /// <summary>Long-running operations.</summary>
    public Operations.OperationsClient Operations { get; }

    /// <summary>Options of a call with one answer.</summary>
    public CallOptions Call(CancellationToken cancellation) => Options(UnaryDeadline, cancellation);

    /// <summary>Options of a stream that is followed; its end at the deadline is a reason to open it again.</summary>
    public CallOptions Follow(CancellationToken cancellation) => Options(StreamDeadline, cancellation);

    /// <summary>Options of a generation.</summary>
    public CallOptions Generation(CancellationToken cancellation) => Options(GenerationDeadline, cancellation);

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();

    private CallOptions Options(TimeSpan deadline, CancellationToken cancellation) =>
        new(_headers, DateTime.UtcNow + deadline, cancellation);

    // Creation carries a request_id and the rest is idempotent. Generation is never repeated by the transport.
    private static MethodConfig RetryControlCalls() => new()
    {
        Names =
        {
            new MethodName { Service = JobService.Descriptor.FullName },
            new MethodName { Service = ModelService.Descriptor.FullName },
            new MethodName { Service = DeploymentService.Descriptor.FullName },
            new MethodName { Service = ClusterService.Descriptor.FullName },
        },
        RetryPolicy = new RetryPolicy
        {
            MaxAttempts = 5,
            InitialBackoff = TimeSpan.FromMilliseconds(100),
            MaxBackoff = TimeSpan.FromSeconds(2),
            BackoffMultiplier = 2,
            RetryableStatusCodes = { StatusCode.Unavailable },
        },
    };
}
