using System.Globalization;
using Platform.Gateway;
using Platform.Gateway.Inference;
using Platform.Hosting.Bus;
using Platform.Hosting.Errors;
using Platform.Hosting.Network;
using Platform.Scheduler;
using Platform.Worker.Agent;

namespace Platform.Standalone;

/// <summary>
/// Scheduler, node agents and gateway as hosts of one process over one in-memory bus, a SQLite file and a local artifact
/// directory. The hosts talk to each other as they do on a cluster: by gRPC and by the bus. Ranks and replicas are child
/// processes of the agents; libtorch is never loaded here.
/// </summary>
public sealed class StandalonePlatform : IAsyncDisposable
{
    private static readonly TimeSpan LeaderPatience = TimeSpan.FromSeconds(60);

    private readonly List<WebApplication> _hosts = [];
    private readonly MassTransitBus _bus;
    private readonly ILoggerFactory _loggers;

    private StandalonePlatform(MassTransitBus bus, ILoggerFactory loggers)
    {
        _bus = bus;
        _loggers = loggers;
    }

    /// <summary>Address of the OpenAI and JSON APIs.</summary>
    public string HttpAddress { get; private set; } = "";

    /// <summary>Address of the gRPC API.</summary>
    public string GrpcAddress { get; private set; } = "";

    /// <summary>Starts everything, scheduler first; what was started is stopped again when something fails.</summary>
    /// <param name="options">Settings.</param>
    /// <param name="data">Directory, owned by the caller.</param>
    /// <param name="args">Settings of single services, as <c>--Section:Key value</c>.</param>
    /// <param name="cancellation">Gives up.</param>
    public static async Task<StandalonePlatform> StartAsync(
        StandaloneOptions options, DataDirectory data, string[] args, CancellationToken cancellation)
    {
        var programs = Programs.Find(options);
        var loggers = LoggerFactory.Create(logging => logging.AddSimpleConsole(console => console.SingleLine = true).SetMinimumLevel(LogLevel.Warning));
        var platform = new StandalonePlatform(MassTransitBus.InMemory(loggers), loggers);
        try
        {
            await platform.StartHostsAsync(options, data, programs, args, cancellation);
            return platform;
        }
        catch
        {
            await platform.DisposeAsync();
            throw;
        }
    }

    /// <summary>Stops the hosts, last started first: no new requests, then no running processes, then no scheduler.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (var host in Enumerable.Reverse(_hosts))
        {
            await host.StopAsync();
            await host.DisposeAsync();
        }
        _hosts.Clear();
        await _bus.DisposeAsync();
        _loggers.Dispose();
    }

    private async Task StartHostsAsync(
        StandaloneOptions options, DataDirectory data, Programs programs, string[] args, CancellationToken cancellation)
    {
        var scheduler = await StartAsync(SchedulerApplication.Build, args, new(options.IsElastic ? LocalNodes(options, data, programs, args) : [])
        {
            ["Scheduler:Listen"] = "127.0.0.1:0",
            ["Scheduler:MetricsListen"] = "127.0.0.1:0",
            ["Database:Provider"] = "sqlite",
            ["Database:ConnectionString"] = $"Data Source={data.Database}",
            ["Artifacts:Root"] = data.Artifacts,
        }, cancellation);
        string address = scheduler.Address("grpc");
        for (int i = 0; i < (options.IsElastic ? 0 : options.Nodes); i++)
        {
            string node = $"node-{i}";
            await StartAsync(AgentApplication.Build, args, new()
            {
                ["Agent:Node"] = node,
                ["Agent:SchedulerAddress"] = address,
                ["Agent:Devices"] = options.DevicesPerNode.ToString(CultureInfo.InvariantCulture),
                ["Agent:DeviceKind"] = "cpu",
                ["Agent:DataDirectory"] = data.Node(node),
                ["Agent:AdvertisedHost"] = "127.0.0.1",
                ["Agent:MetricsListen"] = "127.0.0.1:0",
                ["Agent:WorkerCommand:0"] = programs.Worker,
                ["Agent:ServingCommand:0"] = programs.Serving,
                ["Artifacts:Root"] = data.Artifacts,
            }, cancellation);
        }
        var gateway = await StartAsync(GatewayApplication.Build, args, new()
        {
            ["Gateway:HttpListen"] = $"{options.Host}:{options.HttpPort}",
            ["Gateway:GrpcListen"] = $"{options.Host}:{options.GrpcPort}",
            ["Gateway:SchedulerAddress"] = address,
        }, cancellation);
        await WaitForLeaderAsync(gateway.Services.GetRequiredService<RoutingTable>(), cancellation);
        HttpAddress = gateway.Address(GatewayApplication.HttpListener);
        GrpcAddress = gateway.Address(GatewayApplication.GrpcListener);
    }

    /// <summary>Agents are processes that the scheduler starts and stops as jobs need them.</summary>
    private static Dictionary<string, string?> LocalNodes(StandaloneOptions options, DataDirectory data, Programs programs, string[] args)
    {
        var settings = new Dictionary<string, string?>
        {
            ["Scheduler:Capacity:Groups:0:Name"] = "local",
            ["Scheduler:Capacity:Groups:0:Provider"] = "local",
            ["Scheduler:Capacity:Groups:0:MinNodes"] = options.Nodes.ToString(CultureInfo.InvariantCulture),
            ["Scheduler:Capacity:Groups:0:MaxNodes"] = options.MaxNodes.ToString(CultureInfo.InvariantCulture),
            ["Scheduler:Capacity:Groups:0:Devices"] = options.DevicesPerNode.ToString(CultureInfo.InvariantCulture),
            ["Scheduler:Capacity:IdleSeconds"] = "30",
            ["Scheduler:Capacity:Local:Directory"] = data.Node(""),
            ["Scheduler:Capacity:Local:Command:0"] = programs.Worker,
        };
        string[] arguments = [$"--Agent:ServingCommand:0={programs.Serving}", .. args];
        for (int i = 0; i < arguments.Length; i++)
            settings[$"Scheduler:Capacity:Local:Arguments:{i}"] = arguments[i];
        return settings;
    }

    /// <summary>A scheduler answers once it leads; one that was killed before may have left a lease to wait for.</summary>
    private static async Task WaitForLeaderAsync(RoutingTable routes, CancellationToken cancellation)
    {
        try
        {
            for (var changed = routes.Changed; !routes.IsReady; changed = routes.Changed)
                await changed.WaitAsync(LeaderPatience, cancellation);
        }
        catch (TimeoutException late)
        {
            throw new UnavailableException(
                "NO_LEADER", $"The scheduler does not lead after {LeaderPatience.TotalSeconds:0} s; does another platform run on the same data directory?", late);
        }
    }

    private async Task<WebApplication> StartAsync(
        Func<string[], Action<WebApplicationBuilder>?, WebApplication> build,
        string[] args,
        Dictionary<string, string?> settings,
        CancellationToken cancellation)
    {
        var app = build(args, builder =>
        {
            // Below the command line, so that any setting of a service can still be changed.
            ((IConfigurationBuilder)builder.Configuration).Sources.Insert(
                0, new Microsoft.Extensions.Configuration.Memory.MemoryConfigurationSource { InitialData = settings });
            builder.Services.UseSharedBus(_bus);
        });
        _hosts.Add(app);
        await app.StartAsync(cancellation);
        return app;
    }
}
