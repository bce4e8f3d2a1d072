using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Hosting.Bus;
using Platform.Hosting.Network;
using Platform.Scheduler;
using Platform.V1;

namespace Platform.Benchmarks.Scheduling.Service;

/// <summary>
/// The scheduler's program with a database of its own, composed into this process as standalone does it, and nodes whose agents
/// are simulated: they answer over the bus and renew their leases, but start no processes.
/// </summary>
internal sealed class SchedulerUnderTest : IAsyncDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("scheduler-bench-").FullName;
    private readonly List<SimulatedNode> nodes = [];
    private readonly MassTransitBus bus = MassTransitBus.InMemory(NullLoggerFactory.Instance);
    private readonly WebApplication app;
    private readonly List<GrpcChannel> channels = [];

    private SchedulerUnderTest(string? postgresql, IEnumerable<string> options)
    {
        string[] database = postgresql is null
            ? ["--Database:Provider", "sqlite", "--Database:ConnectionString", $"Data Source={Path.Combine(directory, "scheduler.db")}"]
            : ["--Database:Provider", "postgresql", "--Database:ConnectionString", postgresql];
        app = SchedulerApplication.Build(
            [
                .. database, "--Artifacts:Root", Path.Combine(directory, "artifacts"), "--Scheduler:Listen", "127.0.0.1:0", "--Scheduler:MetricsListen", "127.0.0.1:0",
                "--Logging:LogLevel:Default", "Warning", .. options,
            ],
            builder => builder.Services.UseSharedBus(bus));
    }

    public JobService.JobServiceClient Jobs => new(channels[0]);

    public ClusterService.ClusterServiceClient Cluster => new(channels[0]);

    public IReadOnlyList<SimulatedNode> Nodes => nodes;

    /// <summary>Starts it with nodes.</summary>
    /// <param name="postgresql">Connection string; null for an SQLite file.</param>
    /// <param name="nodeCount">Nodes.</param>
    /// <param name="devices">Devices of each.</param>
    /// <param name="board">Hears what gangs do.</param>
    /// <param name="options">More options of the program.</param>
    public static async Task<SchedulerUnderTest> StartAsync(string? postgresql, int nodeCount, int devices, GangBoard board, params string[] options)
    {
        var scheduler = new SchedulerUnderTest(postgresql, options);
        await scheduler.bus.StartAsync(CancellationToken.None);
        await scheduler.app.StartAsync();
        string address = scheduler.app.Address(SchedulerApplication.GrpcListener);
        scheduler.channels.Add(GrpcChannels.Connect(address));
        scheduler.channels.Add(GrpcChannels.Connect(address));
        while (!await LeadsAsync(scheduler.Cluster))
            await Task.Delay(20);
        for (int n = 0; n < nodeCount; n++)
            scheduler.nodes.Add(await SimulatedNode.StartAsync($"n{n:000}", devices, scheduler.bus, scheduler.channels[1], board));
        return scheduler;
    }

    /// <summary>A job that runs for a time on so many devices, one for each rank.</summary>
    public static CreateJobRequest Request(string name, string queue, int priority, int ranks, TimeSpan runtime) => new()
    {
        Parent = "projects/default",
        Spec = new JobSpec
        {
            Kind = "CommandJob",
            Name = name,
            Queue = queue,
            Priority = priority,
            Command = { "simulate", name, runtime.TotalMilliseconds.ToString(System.Globalization.CultureInfo.InvariantCulture) },
            Resources = new ResourceSpec { Device = "cpu", Ranks = ranks },
        },
    };

    public async ValueTask DisposeAsync()
    {
        foreach (var node in nodes)
            await node.DisposeAsync();
        await app.StopAsync();
        await app.DisposeAsync();
        foreach (var channel in channels)
            channel.Dispose();
        await bus.DisposeAsync();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        Directory.Delete(directory, recursive: true);
    }

    private static async Task<bool> LeadsAsync(ClusterService.ClusterServiceClient cluster)
    {
        try
        {
            await cluster.ListQueuesAsync(new ListQueuesRequest());
            return true;
        }
        catch (RpcException)
        {
            return false;
        }
    }
}
