using System.Net.Http.Json;
using System.Text.Json;
using Grpc.Net.Client;
using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.Testing.Rabbit;
using Platform.Testing.Telemetry;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // Every test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>Gateway, scheduler, two workers and serving as processes of their own over a real RabbitMQ.</summary>
public sealed class ClusterTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 300_000)]
    public async Task A_gang_spans_two_workers_over_RabbitMQ_and_its_trace_connects_every_process()
    {
        Assert.SkipUnless(RabbitMqServer.Unavailable is null, RabbitMqServer.Unavailable ?? "");
        await using var broker = await RabbitMqServer.StartAsync();
        await using var collector = await OtlpReceiver.StartAsync();
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 21));
        // Two devices per worker: four ranks cannot but span both.
        await using var cluster = await ProcessCluster.StartAsync(directory, broker, collector.Endpoint, devicesPerWorker: 3, Cancellation);
        string file = directory.Write("job.yaml", SmallJobs.Yaml("spanning", data, 2, 1, 2, steps: 10, checkpointEvery: 5,
            output: "output: { register_as: spanning, deploy: { engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 } } }"));

        var (code, output) = await RunningProgram.RunAsync(
            Checkout.Cli, ["train", file, "--watch", "--server", cluster.Grpc], Cancellation);
        Assert.True(code == 0, output + cluster.Logs);
        string name = output.TrimEnd().Split('\n')[^1].Trim();
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        var job = await new JobService.JobServiceClient(channel).GetJobAsync(new GetJobRequest { Name = name }, cancellationToken: Cancellation);
        Assert.Equal(JobState.Succeeded, job.State);
        Assert.Equal(["worker-0", "worker-1"], job.Ranks.Select(rank => rank.Node).Distinct().Order());

        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync(
            $"{cluster.Http}/v1/completions", new { model = "spanning", prompt = "The gateway", max_tokens = 8, temperature = 0 }, Cancellation);
        string body = await response.Content.ReadAsStringAsync(Cancellation);
        Assert.True(response.IsSuccessStatusCode, body + cluster.Logs);
        Assert.NotEmpty(JsonDocument.Parse(body).RootElement.GetProperty("choices")[0].GetProperty("text").GetString() ?? "");

        // One trace: the command's call, the gateway, the scheduler, the bus, the agents, the ranks.
        string[] all = ["platform-gateway", "platform-scheduler", "platform-agent", "platform-rank"];
        await Waiting.UntilAsync(
            () => ConnectedServices(collector.Spans).IsSupersetOf(all),
            $"one trace through {string.Join(", ", all)}", seconds: 60);
        var request = collector.Spans.First(span => span is { Service: "platform-gateway" } && span.Name.Contains("CreateJob", StringComparison.Ordinal));
        Assert.NotEmpty(request.ParentId);
        Assert.Contains(collector.Spans, span => span.TraceId == request.TraceId && span.Source == "MassTransit");
        Assert.Contains(collector.Spans, span => span.TraceId == request.TraceId && span.Service == "platform-rank");
    }

    [Fact(Timeout = 300_000)]
    public async Task Lost_repeated_and_late_messages_cost_time_only()
    {
        Assert.SkipUnless(RabbitMqServer.Unavailable is null, RabbitMqServer.Unavailable ?? "");
        await using var broker = await RabbitMqServer.StartAsync();
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 22));
        await using var cluster = await ProcessCluster.StartAsync(
            directory, broker, collector: null, devicesPerWorker: 3, Cancellation,
            "--Bus:Faults:Lose=0.3", "--Bus:Faults:Duplicate=0.2", "--Bus:Faults:DelayMilliseconds=300", "--Bus:Faults:Seed=5");
        string file = directory.Write("job.yaml", SmallJobs.Yaml("faulty", data, 2, 1, 2, steps: 8, checkpointEvery: 4));
        var (code, output) = await RunningProgram.RunAsync(
            Checkout.Cli, ["train", file, "--watch", "--server", cluster.Grpc], Cancellation);
        Assert.True(code == 0, output + cluster.Logs);
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        var nodes = await new ClusterService.ClusterServiceClient(channel).ListNodesAsync(new ListNodesRequest(), cancellationToken: Cancellation);
        Assert.All(nodes.Nodes.SelectMany(node => node.Devices), device => Assert.Equal(0, device.AllocatedMilli));
    }

    // Services whose spans belong to the largest trace.
    private static HashSet<string> ConnectedServices(IReadOnlyList<ReceivedSpan> spans) =>
        spans.GroupBy(span => span.TraceId)
            .Select(trace => trace.Select(span => span.Service).ToHashSet())
            .MaxBy(services => services.Count) ?? [];
}
