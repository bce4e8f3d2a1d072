using System.Diagnostics;
using Grpc.Core;
using Platform.Core;
using Platform.Core.Gangs;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>Logs, figures and traces.</summary>
public sealed class ObservationTests
{
    [Fact]
    public async Task Follows_the_logs_of_every_attempt_until_the_job_ends()
    {
        await using var cluster = await TestCluster.StartAsync();
        var job = await cluster.CreateAsync(cluster.Spec(parallelism: """{"tensor":2}"""));
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        string gang = TestCluster.GangOf(running);
        string node = running.Ranks[0].Node;
        Write(cluster, gang, 1, 0, "one\ntwo\n");
        using var patience = new CancellationTokenSource(TestCluster.Patience);
        using var follow = cluster.Jobs.StreamLogs(new StreamLogsRequest { Name = job.Name, Rank = 0, Follow = true, Tail = 1 }, cancellationToken: patience.Token);
        Assert.True(await follow.ResponseStream.MoveNext(patience.Token));
        Assert.Equal((1, 0, "two"), (follow.ResponseStream.Current.Attempt, follow.ResponseStream.Current.Rank, follow.ResponseStream.Current.Line));
        await cluster.Agent(node).FailAsync(gang, TestCluster.RankExit(0));
        var again = await cluster.WaitForAsync(job.Name, update => update is { State: JobState.Running, Attempt: 2 });
        Write(cluster, gang, 2, 0, "three\nfour");
        await cluster.SucceedAllAsync(again);

        var lines = new List<string>();
        await foreach (var line in follow.ResponseStream.ReadAllAsync(patience.Token))
        {
            lines.Add($"{line.Attempt} {line.Line}");
        }

        Assert.Equal(["2 three", "2 four"], lines);
    }

    [Fact]
    public async Task Shows_its_figures_and_its_readiness()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        await cluster.WaitForAsync((await cluster.CreateAsync(cluster.Spec(parallelism: """{"tensor":2}"""))).Name, JobState.Running);
        using var http = new HttpClient { BaseAddress = new Uri(cluster.MetricsAddress) };

        string figures = await http.GetStringAsync("/metrics");
        Assert.Contains("platform_scheduler_leader 1", figures, StringComparison.Ordinal);
        // Other clusters of this process write the same figure, so its value may be theirs.
        Assert.Contains("platform_scheduler_devices_allocated{kind=\"cpu\"}", figures, StringComparison.Ordinal);
        Assert.True((await http.GetAsync("/readyz")).IsSuccessStatusCode);
    }

    [Fact]
    public async Task Hands_the_trace_of_the_call_on_to_the_nodes()
    {
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name.StartsWith("Platform.", StringComparison.Ordinal) || source.Name == "Microsoft.AspNetCore",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
        };
        ActivitySource.AddActivityListener(listener);
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        const string Trace = "0af7651916cd43dd8448eb211c80319c";
        var job = await cluster.Jobs.CreateJobAsync(
            new CreateJobRequest { Parent = "projects/default", Spec = cluster.Spec(parallelism: """{"tensor":2}""") },
            new Metadata { { "traceparent", $"00-{Trace}-b7ad6b7169203331-01" } });
        await cluster.WaitForAsync(job.Name, JobState.Running);

        Assert.Contains(Trace, cluster.Agent("n0").AssignmentOf(TestCluster.GangOf(job))?.TraceParent, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Shows_where_the_time_of_a_job_went_what_it_measured_and_what_it_cost()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1, options: ["--Scheduler:DevicePricePerHour:cpu", "3600"]);
        var job = await cluster.CreateAsync(cluster.Spec(parallelism: """{"tensor":2}"""));
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        await cluster.Agent("n0").ProgressAsync(new GangProgressReport
        {
            Node = "n0",
            Gang = TestCluster.GangOf(running),
            Attempt = 1,
            Phase = "training",
            Points =
            [
                new StepMetrics(1, 5, 1, 1000, 1e-3, 0.5),
                new StepMetrics(2, 4, 1, 1000, 1e-3, 0.5)
                {
                    Parts = new(0.3, 0.1, 0.05, 0.01, 0.03, 0, 0.01),
                    ModelFlopsUtilization = 0.41,
                    Measurement = new() { Steps = 1, StepSeconds = 0.5, Parts = new(0.3, 0.1, 0.05, 0.01, 0.03, 0, 0.01), LiveTensorBytes = [100, 200], PeakFlops = 1e9 },
                },
            ],
        });

        var seen = await cluster.WaitForAsync(job.Name, update => update.Measured is not null);
        Assert.Equal((200, 1, 0.1), (seen.Measured.BytesPerRank, seen.Measured.Steps, seen.Measured.BubbleFraction));
        Assert.Equal((2, 1, 1), (seen.Layout.Tensor, seen.Layout.Pipeline, seen.Layout.Data));
        Assert.True(seen.DeviceHours > 0);
        Assert.Equal(seen.DeviceHours * 3600, seen.Cost, 6);
        var points = (await cluster.Jobs.GetMetricsAsync(new GetMetricsRequest { Name = job.Name })).Points;
        Assert.Null(points[0].Parts);
        Assert.Equal((0.3, 0.41), (points[1].Parts.Compute, points[1].ModelFlopsUtilization));
        using var http = new HttpClient { BaseAddress = new Uri(cluster.MetricsAddress) };
        string figures = await http.GetStringAsync("/metrics");
        Assert.Contains("part=\"bubble\"} 0.05", figures, StringComparison.Ordinal);
        Assert.Contains("platform_training_mfu_ratio", figures, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Joins_the_timelines_of_the_ranks_into_one_document()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        var job = await cluster.CreateAsync(cluster.Spec(parallelism: """{"tensor":2}"""));
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        var missing = await Assert.ThrowsAsync<RpcException>(() => TraceAsync(cluster, job.Name));
        Assert.Equal(StatusCode.NotFound, missing.StatusCode);
        foreach (int rank in new[] { 0, 1 })
        {
            string path = Path.Combine(cluster.ArtifactRoot, ArtifactLayout.Trace(TestCluster.GangOf(running), 1, rank));
            Directory.CreateDirectory(Path.GetDirectoryName(path) ?? throw new InvalidOperationException(path));
            await File.WriteAllLinesAsync(path, Enumerable.Range(0, 5000).Select(n => $$"""{"name":"forward","ph":"X","ts":{{n}},"dur":1,"pid":{{rank}},"tid":0}"""));
        }

        using var document = System.Text.Json.JsonDocument.Parse(await TraceAsync(cluster, job.Name));
        var events = document.RootElement.GetProperty("traceEvents").EnumerateArray().ToList();
        Assert.Equal(10_000, events.Count);
        Assert.Equal([0, 1], events.Select(each => each.GetProperty("pid").GetInt32()).Distinct().Order());
    }

    private static async Task<byte[]> TraceAsync(TestCluster cluster, string job)
    {
        using var patience = new CancellationTokenSource(TestCluster.Patience);
        using var stream = cluster.Jobs.GetTrace(new GetTraceRequest { Name = job }, cancellationToken: patience.Token);
        using var whole = new MemoryStream();
        await foreach (var piece in stream.ResponseStream.ReadAllAsync(patience.Token))
        {
            piece.Chunk.WriteTo(whole);
        }

        return whole.ToArray();
    }

    private static void Write(TestCluster cluster, string gang, int attempt, int rank, string text)
    {
        string directory = Path.Combine(cluster.ArtifactRoot, gang, $"{attempt}", "logs");
        Directory.CreateDirectory(directory);
        File.AppendAllText(Path.Combine(directory, $"rank-{rank}.log"), text);
    }
}
