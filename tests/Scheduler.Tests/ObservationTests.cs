using System.Diagnostics;
using Grpc.Core;
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
        Assert.Contains("platform_scheduler_devices_allocated{kind=\"cpu\"} 2", figures, StringComparison.Ordinal);
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

    private static void Write(TestCluster cluster, string gang, int attempt, int rank, string text)
    {
        string directory = Path.Combine(cluster.ArtifactRoot, gang, $"{attempt}", "logs");
        Directory.CreateDirectory(directory);
        File.AppendAllText(Path.Combine(directory, $"rank-{rank}.log"), text);
    }
}
