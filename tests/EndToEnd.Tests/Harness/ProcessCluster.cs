using System.Globalization;
using Grpc.Core;
using Grpc.Net.Client;
using Platform.Testing;
using Platform.Testing.Rabbit;
using Platform.V1;

namespace Platform.EndToEnd.Tests.Harness;

/// <summary>A scheduler, two workers and a gateway as processes over RabbitMQ; replicas and ranks are started by the workers.</summary>
internal sealed class ProcessCluster : IAsyncDisposable
{
    private readonly List<(string Name, RunningProgram Program)> _programs = [];

    public string Http { get; private set; } = "";

    public string Grpc { get; private set; } = "";

    public string Logs => string.Concat(_programs.Select(program => $"\n--- {program.Name}\n{program.Program.Output}"));

    public static async Task<ProcessCluster> StartAsync(
        TemporaryDirectory directory, RabbitMqServer broker, string? collector, int devicesPerWorker, CancellationToken cancellation, params string[] settings)
    {
        var cluster = new ProcessCluster();
        try
        {
            await cluster.StartAllAsync(directory, broker, collector, devicesPerWorker, settings, cancellation);
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var (_, program) in Enumerable.Reverse(_programs))
            await program.DisposeAsync();
    }

    private async Task StartAllAsync(
        TemporaryDirectory directory, RabbitMqServer broker, string? collector, int devices, string[] settings, CancellationToken cancellation)
    {
        string artifacts = directory.Sub("artifacts");
        string[] bus = [.. broker.BusArguments, .. settings];
        var environment = new Dictionary<string, string>();
        if (collector is not null)
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector;
        var scheduler = Add("scheduler", Checkout.Scheduler,
            [
                "--Scheduler:Listen=127.0.0.1:0", "--Scheduler:MetricsListen=127.0.0.1:0", "--Database:Provider=sqlite",
                $"--Database:ConnectionString=Data Source={Path.Combine(directory.Path, "platform.db")}", $"--Artifacts:Root={artifacts}", .. bus,
            ], environment);
        string address = await AddressAsync(scheduler, "grpc", cancellation);
        for (int i = 0; i < 2; i++)
        {
            string node = $"worker-{i}";
            Add(node, Checkout.Worker,
                [
                    "agent", $"--Agent:Node={node}", $"--Agent:SchedulerAddress={address}",
                    string.Create(CultureInfo.InvariantCulture, $"--Agent:Devices={devices}"), "--Agent:DeviceKind=cpu",
                    $"--Agent:DataDirectory={directory.Sub(node)}", "--Agent:AdvertisedHost=127.0.0.1", "--Agent:MetricsListen=127.0.0.1:0",
                    $"--Agent:WorkerCommand:0={Checkout.Worker}", $"--Agent:ServingCommand:0={Checkout.Serving}", $"--Artifacts:Root={artifacts}", .. bus,
                ], environment);
        }
        var gateway = Add("gateway", Checkout.Gateway,
            ["--Gateway:HttpListen=127.0.0.1:0", "--Gateway:GrpcListen=127.0.0.1:0", $"--Gateway:SchedulerAddress={address}"], environment);
        Http = await AddressAsync(gateway, "http", cancellation);
        Grpc = await AddressAsync(gateway, "grpc", cancellation);
        using var channel = GrpcChannel.ForAddress(Grpc);
        var nodes = new ClusterService.ClusterServiceClient(channel);
        while ((await nodes.ListNodesAsync(new ListNodesRequest(), new CallOptions(cancellationToken: cancellation).WithWaitForReady())).Nodes
            .Count(node => node.State == NodeState.Ready) < 2)
        {
            await Task.Yield();
        }
    }

    private RunningProgram Add(string name, string program, string[] args, IReadOnlyDictionary<string, string> environment)
    {
        var running = RunningProgram.Start(program, args, environment);
        _programs.Add((name, running));
        return running;
    }

    // Every service logs "… listens on NAME at ADDRESS" once it is up.
    private static async Task<string> AddressAsync(RunningProgram program, string listener, CancellationToken cancellation)
    {
        string line = await program.WaitForLineAsync(text => text.Contains($"listens on {listener} at http", StringComparison.Ordinal), cancellation);
        return line[line.IndexOf("http://", StringComparison.Ordinal)..].Trim();
    }
}
