using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

/// <summary><c>jobs trace</c>, <c>jobs report</c>, and predicted beside measured.</summary>
public sealed partial class JobFilesTests
{
    [Fact]
    public async Task Writes_the_timeline_into_a_file_or_to_the_output()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        ScriptTrace(platform, "projects/default/jobs/x");
        using var cli = new CommandLine(platform.Address);

        var written = await cli.RunAsync("jobs", "trace", "x", "-o", "trace.json");
        var printed = await cli.RunAsync("jobs", "trace", "x");

        Assert.Equal(["Wrote trace.json: 24 events of 4 ranks over 1 steps."], written.OutputLines);
        Assert.Equal(printed.Output, await File.ReadAllTextAsync(Path.Combine(cli.Directory, "trace.json"), TestContext.Current.CancellationToken));
        using var document = System.Text.Json.JsonDocument.Parse(printed.Output);
        Assert.Equal(24, document.RootElement.GetProperty("traceEvents").GetArrayLength());
    }

    [Fact]
    public async Task Writes_a_report_that_needs_nothing_else()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        const string Name = "projects/default/jobs/x";
        ScriptTrace(platform, Name);
        platform.Script.On<GetJobRequest, Job>(_ => SomeJob(Name));
        platform.Script.On<GetMetricsRequest, GetMetricsResponse>(_ => SomeMetrics());
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "report", "x");
        var page = await File.ReadAllTextAsync(Path.Combine(cli.Directory, "x-report.html"), TestContext.Current.CancellationToken);

        Assert.Equal(["Wrote x-report.html."], run.OutputLines);
        Assert.DoesNotContain("<script", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotMatch(Fetch(), page);
        foreach (var part in new[] { "Loss", "Tokens per second", "Where the time went", "Predicted and measured", "Timeline", "Memory per rank", "Events", "Configuration" })
            Assert.Contains($"<h2>{part}", page, StringComparison.Ordinal);
        Assert.Contains("<title>backward, micro-batch 1: ", page, StringComparison.Ordinal);
        Assert.Contains("prefers-color-scheme: dark", page, StringComparison.Ordinal);

        // What others wrote is shown and does nothing.
        Assert.Contains("a &lt;b&gt; &amp; c", page, StringComparison.Ordinal);
        Assert.DoesNotContain("a <b> & c", page, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Writes_a_report_of_a_job_that_has_not_run()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<GetJobRequest, Job>(request => new Job { Name = request.Name, State = JobState.Queued, StateReason = "Waits for devices." });
        platform.Script.On<GetMetricsRequest, GetMetricsResponse>(_ => new GetMetricsResponse());
        platform.Script.OnStream<GetTraceRequest, GetTraceResponse>((_, _, _) => throw new Grpc.Core.RpcException(new Grpc.Core.Status(Grpc.Core.StatusCode.NotFound, "none")));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "report", "x", "-o", "r.html");

        Assert.Equal((0, ""), (run.Code, run.Error));
        Assert.Contains("The ranks have left no timeline.", await File.ReadAllTextAsync(Path.Combine(cli.Directory, "r.html"), TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Shows_what_was_predicted_beside_what_was_measured()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<GetJobRequest, Job>(request => SomeJob(request.Name));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "get", "x");

        Assert.Contains("memory of the fullest rank  1.0 GiB    1.1 GiB   1.10", run.OutputLines);
        Assert.Contains("device-hours      2, costing 5.00", run.OutputLines);
    }

    [Fact]
    public async Task Looks_at_nodes_and_jobs_once_where_nobody_watches()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ListNodesRequest, ListNodesResponse>(_ => new ListNodesResponse
        {
            Nodes = { new Node { Name = "nodes/n0", State = NodeState.Ready, Devices = { new Device { Kind = "cpu", AllocatedMilli = 1000 }, new Device { Index = 1, Kind = "cpu" } } } },
        });
        platform.Script.On<ListJobsRequest, ListJobsResponse>(request => request.State == JobState.Running
            ? new ListJobsResponse { Jobs = { SomeJob("projects/default/jobs/x") } }
            : new ListJobsResponse());
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("top");

        Assert.Equal(0, run.Code);
        Assert.Contains("n0    ready  2 cpu    █·", run.OutputLines);
        Assert.Contains(run.OutputLines, line => line.StartsWith("x    succeeded  2×2×1", StringComparison.Ordinal) && line.Contains("43.0%", StringComparison.Ordinal));
    }

    internal static Job SomeJob(string name) => new()
    {
        Name = name,
        State = JobState.Succeeded,
        StateReason = "a <b> & c",
        Spec = new JobSpec { Kind = "TrainingJob", Name = "x", Data = new DataSpec { Source = { "docs/*.txt" } }, Parallelism = new ParallelismSpec { Auto = true } },
        Layout = new ParallelismSpec { Tensor = 2, Pipeline = 2, Data = 1, MicroBatchSize = 2 },
        CreateTime = Timestamp.FromDateTimeOffset(DateTimeOffset.UnixEpoch),
        StartTime = Timestamp.FromDateTimeOffset(DateTimeOffset.UnixEpoch.AddSeconds(3)),
        EndTime = Timestamp.FromDateTimeOffset(DateTimeOffset.UnixEpoch.AddSeconds(300)),
        Progress = new TrainingProgress { Step = 60, TotalSteps = 60, Loss = 2.5, FirstLoss = 8.3, TokensPerSecond = 12_000 },
        PastFailures = { new Failure { Reason = "RANK_EXITED", Message = "Rank 3 exited with 137.", Attempt = 1, Time = Timestamp.FromDateTimeOffset(DateTimeOffset.UnixEpoch.AddSeconds(90)) } },
        CheckpointStep = 60,
        Model = "projects/default/models/x",
        DeviceHours = 2,
        Cost = 5,
        Predicted = new RunFigures
        {
            BytesPerRank = 1L << 30,
            Memory = new MemoryFigures { States = 800 << 20, Activations = 200 << 20, Logits = 24 << 20 },
            StepSeconds = 0.4,
            TokensPerSecond = 14_000,
            ModelFlopsUtilization = 0.5,
            BubbleFraction = 0.2,
            CommunicationBytesPerStep = 3 << 20,
            Parts = new StepParts { Compute = 0.3, Communication = 0.02, Bubble = 0.08 },
        },
        Measured = new RunFigures
        {
            BytesPerRank = (long)(1.1 * (1L << 30)),
            RankBytes = { 1L << 30, (long)(1.1 * (1L << 30)), 900 << 20, 1L << 30 },
            ResidentBytes = { 2L << 30, 2L << 30, 2L << 30, 2L << 30 },
            StepSeconds = 0.5,
            TokensPerSecond = 12_000,
            ModelFlopsUtilization = 0.43,
            BubbleFraction = 0.18,
            PeakFlops = 5e10,
            CommunicationBytesPerStep = 3_200_000,
            Parts = new StepParts { Compute = 0.32, Communication = 0.04, Bubble = 0.09, Data = 0.005, Optimizer = 0.03, Checkpoint = 0.01, Other = 0.005 },
            Steps = 59,
        },
    };

    internal static GetMetricsResponse SomeMetrics()
    {
        var response = new GetMetricsResponse();
        for (var step = 1; step <= 60; step++)
        {
            var point = new MetricPoint
            {
                Step = step,
                Loss = 2.4 + (5.9 * Math.Exp(-step / 15.0)) + (0.08 * Math.Sin(step * 1.7)),
                GradNorm = 1 + Math.Exp(-step / 9.0),
                TokensPerSecond = 12_000 + (400 * Math.Sin(step)),
                LearningRate = 1e-3 * Math.Min(1, step / 10.0) * (1 - (step / 80.0)),
                StepSeconds = 0.5,
                ModelFlopsUtilization = 0.43,
                Parts = new StepParts { Compute = 0.32 + (0.02 * Math.Sin(step)), Communication = 0.04, Bubble = 0.09, Data = 0.005, Optimizer = 0.03, Checkpoint = step % 20 == 1 ? 0.2 : 0, Other = 0.005 },
            };
            if (step % 10 == 0)
                point.EvalLoss = point.Loss + 0.1;
            response.Points.Add(point);
        }

        return response;
    }

    private static void ScriptTrace(ScriptedPlatform platform, string name)
    {
        var events = new List<string>();
        for (var rank = 0; rank < 4; rank++)
        {
            var stage = rank / 2;
            foreach (var (what, part, start, length, micro) in new[]
            {
                ("forward", "compute", 0, 80, 0), ("forward", "compute", 90, 80, 1), ("recv", "bubble", 180, 60, 0), ("backward", "compute", 250, 150, 0),
                ("backward", "compute", 410, 150, 1), ("update", "optimizer", 600, 40, -1),
            })
            {
                events.Add(string.Create(
                    CultureInfo.InvariantCulture,
                    $$$"""{"name":"{{{what}}}","cat":"{{{part}}}","ph":"X","ts":{{{1e15 + (start * 1000) + (stage * 90_000)}}},"dur":{{{length * 1000}}},"pid":{{{rank}}},"tid":0,"args":{"step":60{{{(micro < 0 ? "" : $",\"micro_batch\":{micro}")}}}}}"""));
            }
        }

        var bytes = Encoding.UTF8.GetBytes($$"""{"displayTimeUnit":"ms","traceEvents":[{{string.Join(",\n", events)}}]}""");
        platform.Script.OnStream<GetTraceRequest, GetTraceResponse>(async (request, writer, cancellation) =>
        {
            Assert.Equal(name, request.Name);
            foreach (var piece in bytes.Chunk(1000))
                await writer.WriteAsync(new GetTraceResponse { Chunk = ByteString.CopyFrom(piece) }, cancellation);
        });
    }

    [GeneratedRegex("""(?:src|href)=|url\(|@import""")]
    private static partial Regex Fetch();
}
