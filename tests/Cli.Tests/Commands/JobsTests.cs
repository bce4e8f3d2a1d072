using System.Text.Json.Nodes;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class JobsTests
{
    [Fact]
    public async Task Prints_metrics_as_the_message_in_proto3_json()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<GetMetricsRequest, GetMetricsResponse>(_ => new GetMetricsResponse
        {
            Points = { new MetricPoint { Step = 1, Loss = 8.5, GradNorm = 1.25, TokensPerSecond = 1000 }, new MetricPoint { Step = 2, Loss = 0, GradNorm = 1, TokensPerSecond = 1100, EvalLoss = 7 } },
        });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "metrics", "docs-lm-1", "-o", "json", "--after", "0");

        Assert.Equal(0, run.Code);
        var points = JsonNode.Parse(run.Output)?["points"]?.AsArray() ?? [];
        Assert.Equal(2, points.Count);
        Assert.Equal((1, 8.5, 1.25, 1000.0), ((int?)points[0]?["step"], (double?)points[0]?["loss"], (double?)points[0]?["gradNorm"], (double?)points[0]?["tokensPerSecond"]));
        Assert.Null(points[0]?["evalLoss"]);
        Assert.Equal((0.0, 7.0), ((double?)points[1]?["loss"], (double?)points[1]?["evalLoss"]));
        Assert.Equal("projects/default/jobs/docs-lm-1", platform.Script.Only<GetMetricsRequest>().Name);
    }

    [Theory]
    [InlineData("docs-lm-1", "projects/default/jobs/docs-lm-1")]
    [InlineData("jobs/docs-lm-1", "projects/default/jobs/docs-lm-1")]
    [InlineData("projects/team/jobs/docs-lm-1", "projects/team/jobs/docs-lm-1")]
    public async Task Takes_short_and_full_names(string given, string name)
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<GetJobRequest, Job>(_ => Samples.Job(JobState.Running, 3));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "get", given, "-o", "json");

        Assert.Equal(name, platform.Script.Only<GetJobRequest>().Name);
        Assert.Equal("JOB_STATE_RUNNING", (string?)JsonNode.Parse(run.Output)?["state"]);
        Assert.Equal(3, (int?)JsonNode.Parse(run.Output)?["progress"]?["step"]);
        Assert.Equal(0, (int?)JsonNode.Parse(run.Output)?["restarts"]);
    }

    [Fact]
    public async Task Refuses_a_name_of_something_else()
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync("jobs", "get", "projects/default/models/docs-lm");

        Assert.Equal((1, "'projects/default/models/docs-lm' does not name a job; write its id, or its full name projects/PROJECT/jobs/ID.\n"), (run.Code, run.Error));
    }

    [Fact]
    public async Task Lists_every_page_as_a_table()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ListJobsRequest, ListJobsResponse>(request => request.PageToken switch
        {
            "" => new ListJobsResponse { Jobs = { Samples.Job(JobState.Running, 3, "b") }, NextPageToken = "more" },
            "more" => new ListJobsResponse { Jobs = { Samples.Job(JobState.Queued, 0, "a") } },
            _ => throw new InvalidOperationException(request.PageToken),
        });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "list", "--state", "running");

        Assert.Equal(
            ["JOB  STATE    STEP  LOSS    QUEUE    RESTARTS  RAN  AGE", "b    running  3/20  3.2500  default  0         -    5m00s", "a    queued   0/20  3.2500  default  0         -    5m00s"],
            run.OutputLines);
        Assert.All(platform.Script.Calls, call => Assert.Equal(JobState.Running, ((ListJobsRequest)call.Request).State));
    }

    [Fact]
    public async Task Prints_yaml_with_the_names_of_the_json()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<GetMetricsRequest, GetMetricsResponse>(_ => new GetMetricsResponse { Points = { new MetricPoint { Step = 4, GradNorm = 0.5 } } });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "metrics", "x", "-o", "yaml");

        Assert.Equal(
            ["points:", "  - step: 4", "    loss: 0", "    gradNorm: 0.5", "    tokensPerSecond: 0", "    learningRate: 0", "    stepSeconds: 0"],
            run.OutputLines);
    }

    [Theory]
    [InlineData("cancel", JobState.Cancelled)]
    [InlineData("pause", JobState.Paused)]
    [InlineData("resume", JobState.Queued)]
    public async Task Steers_a_job(string verb, JobState state)
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var job = new Job { Name = "projects/default/jobs/x", State = state };
        platform.Script.On<CancelJobRequest, Job>(_ => job).On<PauseJobRequest, Job>(_ => job).On<ResumeJobRequest, Job>(_ => job);
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", verb, "x");

        Assert.Equal((0, $"projects/default/jobs/x: {state.ToString().ToLowerInvariant()}\n"), (run.Code, run.Output));
        Assert.Contains(verb, Assert.Single(platform.Script.Calls).Method, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task Prints_logs_with_attempt_and_rank()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<StreamLogsRequest, StreamLogsResponse>(
            new StreamLogsResponse { Attempt = 1, Rank = 3, Line = "hello" }, new StreamLogsResponse { Attempt = 2, Rank = 0, Line = "" });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "logs", "x", "--rank", "0", "--tail", "5", "-f");

        Assert.Equal((0, "1/3 | hello\n2/0 | \n"), (run.Code, run.Output));
        var request = platform.Script.Only<StreamLogsRequest>();
        Assert.Equal((true, 0, 5, true), (request.HasRank, request.Rank, request.Tail, request.Follow));
    }

    [Fact]
    public async Task Explains_as_a_tree()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ExplainJobRequest, ExplainJobResponse>(_ => new ExplainJobResponse
        {
            Reasons = { new PendingReason { Reason = "CAPACITY", Message = "8 devices are needed, 4 are free.", Causes = { new PendingReason { Reason = "NODE_HEALTH", Message = "node-2 is lost." } } } },
            Position = 2,
            Counterfactuals = { "job other ends" },
        });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "explain", "x");

        Assert.Equal(
            ["8 devices are needed, 4 are free. [CAPACITY]", "└─ node-2 is lost. [NODE_HEALTH]", "Position in its queue: 2", "It would start if: job other ends"],
            run.OutputLines);
    }

    [Fact]
    public async Task Plans_a_job()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<PlanJobRequest, PlanJobResponse>(request => new PlanJobResponse { Layout = request.Spec.Parallelism, Parameters = 12_000_000, BytesPerRank = 3L << 29, Notes = { "a note" } });
        using var cli = new CommandLine(platform.Address);
        cli.Write("job.yaml", Samples.JobFile);
        cli.Write("corpus/a.txt", "text");

        var run = await cli.RunAsync("plan", "job.yaml", "--set", "parallelism.data=1");

        Assert.Equal(0, run.Code);
        Assert.Contains("layout (tensor×pipeline×data)  2×2×1", run.OutputLines);
        Assert.Contains("parameters                     12.0M", run.OutputLines);
        Assert.Contains("memory per rank                1.5 GiB", run.OutputLines);
        Assert.Equal("Note: a note", run.OutputLines[^1]);
    }

    [Fact]
    public async Task Plans_for_a_cluster_that_does_not_exist_without_a_server()
    {
        using var cli = new CommandLine("http://localhost:1");
        cli.Write("job.yaml", """
            kind: TrainingJob
            name: big
            model: { architecture: llama, hidden_size: 5120, intermediate_size: 13824, num_hidden_layers: 40, num_attention_heads: 40, num_key_value_heads: 8 }
            data: { source: [corpus], tokenizer: { train: bpe, vocab_size: 32000 }, sequence_length: 2048 }
            parallelism: auto
            training: { steps: 100, global_batch_size: 64 }
            """);

        var chosen = await cli.RunAsync("plan", "job.yaml", "--nodes", "1", "--devices-per-node", "8", "--device-kind", "a100", "--device-memory", "40GiB", "--price", "2.5");
        var given = await cli.RunAsync("plan", "job.yaml", "--set", "parallelism={tensor: 4, data: 2}", "--device-kind", "a100", "--device-memory", "40GiB");

        Assert.Equal((0, ""), (chosen.Code, chosen.Error));
        Assert.Contains("layout (tensor×pipeline×data)    8×1×1", chosen.OutputLines);
        Assert.Contains(chosen.OutputLines, line => line.StartsWith("cost ", StringComparison.Ordinal));
        Assert.Contains(chosen.OutputLines, line => line.StartsWith("Why: Weights, gradients and optimizer state are", StringComparison.Ordinal));
        Assert.Equal(1, given.Code);
        Assert.Contains(given.OutputLines, line => line.StartsWith("Infeasible: tensor 4 × data 2 does not fit:", StringComparison.Ordinal) && line.Contains("zero_stage 3 with data 8", StringComparison.Ordinal));
    }
}
