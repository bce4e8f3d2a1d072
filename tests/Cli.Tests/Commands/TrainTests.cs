using Google.Rpc;
using Grpc.Core;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class TrainTests
{
    [Fact]
    public async Task Submits_the_file_and_prints_the_name_last()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<CreateJobRequest, Job>(_ => Samples.Job(JobState.Queued));
        using var cli = new CommandLine(platform.Address);
        cli.Write("jobs/job.yaml", Samples.JobFile);
        var corpus = cli.Write("jobs/corpus/a.txt", "text");

        var run = await cli.RunAsync("train", "jobs/job.yaml", "--set", "training.steps=7", "--set", "optimizer.betas=[0.8, 0.9]");

        Assert.Equal((0, "projects/default/jobs/docs-lm-1\n", ""), (run.Code, run.Output, run.Error));
        var request = platform.Script.Only<CreateJobRequest>();
        Assert.Equal("projects/default", request.Parent);
        Assert.True(Guid.TryParse(request.RequestId, out _));
        Assert.False(request.ValidateOnly);
        Assert.Equal("docs-lm", request.Spec.Name);
        Assert.Equal([Path.Combine(Path.GetDirectoryName(corpus) ?? "", "*.txt")], request.Spec.Data.Source);
        Assert.Equal((7, 8), (request.Spec.Training.Steps, request.Spec.Training.GlobalBatchSize));
        Assert.Equal([0.8, 0.9], request.Spec.Optimizer.Betas);
        Assert.Equal((2, 2, 2, "1f1b"), (request.Spec.Parallelism.Tensor, request.Spec.Parallelism.Pipeline, request.Spec.Parallelism.Data, request.Spec.Parallelism.Schedule));
        Assert.Equal(512, request.Spec.Data.Tokenizer.VocabSize);
    }

    /// <summary>Weights go by the names of their sources, which become absolute: a file beside the job file and a glob.</summary>
    [Fact]
    public async Task Sends_a_mixture_of_two_sources_with_the_weights_of_each()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<CreateJobRequest, Job>(_ => Samples.Job(JobState.Queued));
        using var cli = new CommandLine(platform.Address);
        var code = cli.Write("jobs/code.jsonl", "{\"text\":\"x\"}\n");
        var prose = Path.Combine(Path.GetDirectoryName(cli.Write("jobs/prose/a.jsonl", "{\"text\":\"y\"}\n")) ?? "", "*.jsonl");
        cli.Write("jobs/job.yaml", """
            kind: TrainingJob
            name: mixed
            model: { hidden_size: 64, intermediate_size: 96, num_hidden_layers: 4, num_attention_heads: 8, num_key_value_heads: 4, max_position_embeddings: 64 }
            data:
              source: [ code.jsonl, prose/*.jsonl ]
              mixture: { code.jsonl: 0.25, "prose/*.jsonl": 3 }
              format: jsonl
              sequence_length: 64
            training: { steps: 2, global_batch_size: 1 }
            parallelism: { micro_batch_size: 1 }
            """);

        var run = await cli.RunAsync("train", "jobs/job.yaml");

        Assert.Equal((0, ""), (run.Code, run.Error));
        var data = platform.Script.Only<CreateJobRequest>().Spec.Data;
        Assert.Equal([code, prose], data.Source);
        Assert.Equal(new Dictionary<string, double> { [code] = 0.25, [prose] = 3 }, data.Mixture.ToDictionary());
    }

    [Fact]
    public async Task Reports_everything_wrong_with_a_file_by_line_and_submits_nothing()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        using var cli = new CommandLine(platform.Address);
        cli.Write("corpus/a.txt", "text");
        cli.Write("job.yaml", """
            kind: TrainingJob
            name: docs-lm
            model:
              hidden_size: 64
              intermediate_size: 96
              num_hidden_layers: 4
              num_attention_heads: 8
              num_key_value_heads: 4
            data:
              source: [ corpus/*.txt, missing/file.txt ]
              sequense_length: 64
            parallelism:
              tensor: 3
              pipeline: 5
              data: 2
            training:
              steps: 20
              steps: 30
              global_batch_size: 7
            optimizer: { lr: high }
            """);

        var run = await cli.RunAsync("train", "job.yaml", "--set", "training.seed=lucky");

        Assert.Equal(1, run.Code);
        Assert.Equal("", run.Output);
        Assert.Equal(
            [
                $"job.yaml:10: data.source[1]: \"missing/file.txt\" does not exist (looked for {cli.Directory}/missing/file.txt).",
                "job.yaml:11: data.sequense_length: This key is not known; did you mean data.sequence_length?",
                "job.yaml:13: parallelism.tensor: 3 does not divide model.num_attention_heads (8) and model.num_key_value_heads (4); use 1, 2 or 4.",
                "job.yaml:14: parallelism.pipeline: 5 stages are more than model.num_hidden_layers (4); use at most 4.",
                "job.yaml:18: training.steps: This key is already on line 17; keep one of them.",
                "job.yaml:19: training.global_batch_size: 7 is not a multiple of parallelism.data × parallelism.micro_batch_size (2 × 1 = 2); use 6 or 8.",
                "job.yaml:20: optimizer.lr: \"high\" is not a number; allowed is above 0 and at most 10.",
                "--set training.seed=lucky: training.seed: \"lucky\" is not a whole number; allowed is 0 to 9223372036854775807.",
                "8 errors in job.yaml; nothing was submitted.",
            ],
            run.ErrorLines);
        Assert.Empty(platform.Script.Calls);
    }

    [Theory]
    [InlineData("kind: TrainingJob\nname: [a\nmodel: 3\n", "job.yaml:2: This is not YAML: what begins here with [ or { is not closed.")]
    [InlineData("kind: Deployment\nmodel: x\n", "job.yaml:1: kind: This is a Deployment, not a job")]
    [InlineData("- a\n- b\n", "job.yaml:1: Found a list; expected keys with values.")]
    [InlineData("", "job.yaml:1: kind: This is required; expected TrainingJob.")]
    public async Task Refuses_a_file_that_is_no_job(string yaml, string first)
    {
        using var cli = new CommandLine();
        cli.Write("job.yaml", yaml);

        var run = await cli.RunAsync("train", "job.yaml");

        Assert.Equal(1, run.Code);
        Assert.StartsWith(first, run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("train", "absent.yaml", "absent.yaml: There is no such file.")]
    [InlineData("train", "job.yaml", "--set training.steps: Expected a field and a value, such as --set training.steps=100.", "--set", "training.steps")]
    [InlineData("train", "job.yaml", "--set name.first=a: name in job.yaml is not an object; set name itself.", "--set", "name.first=a")]
    public async Task Says_what_is_wrong_with_the_command_line(string command, string file, string error, params string[] more)
    {
        using var cli = new CommandLine();
        cli.Write("job.yaml", Samples.JobFile);

        var run = await cli.RunAsync([command, file, .. more]);

        Assert.Equal((1, error + "\n"), (run.Code, run.Error));
    }

    [Fact]
    public async Task Shows_the_server_s_violations_at_their_lines()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<CreateJobRequest, Job>(_ => throw Samples.Error(
            StatusCode.InvalidArgument, "The job is not valid.", "INVALID_SPEC",
            new BadRequest { FieldViolations = { new BadRequest.Types.FieldViolation { Field = "spec.parallelism.data", Description = "8 ranks do not fit 4 devices." } } }));
        using var cli = new CommandLine(platform.Address);
        cli.Write("job.yaml", Samples.JobFile);
        cli.Write("corpus/a.txt", "text");

        var run = await cli.RunAsync("train", "job.yaml");

        Assert.Equal(1, run.Code);
        Assert.Equal(["job.yaml:12: spec.parallelism.data: 8 ranks do not fit 4 devices.", "error: The job is not valid. (INVALID_SPEC)"], run.ErrorLines);
    }

    [Fact]
    public async Task A_dry_run_creates_nothing()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<CreateJobRequest, Job>(request => new Job { Spec = request.Spec });
        using var cli = new CommandLine(platform.Address);
        cli.Write("job.yaml", Samples.JobFile);
        cli.Write("corpus/a.txt", "text");

        var run = await cli.RunAsync("train", "job.yaml", "--dry-run");

        Assert.Equal((0, "job.yaml is valid and fits the cluster; nothing was created.\n"), (run.Code, run.Output));
        Assert.True(platform.Script.Only<CreateJobRequest>().ValidateOnly);
    }

    [Fact]
    public async Task Prefers_data_beside_the_file_and_falls_back_to_the_current_directory()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<CreateJobRequest, Job>(_ => Samples.Job(JobState.Queued));
        using var cli = new CommandLine(platform.Address);
        cli.Write("jobs/job.yaml", Samples.JobFile);
        cli.Write("corpus/a.txt", "text");
        var tokenizer = cli.Write("tok/tokenizer.json", "{}");

        var run = await cli.RunAsync("train", "jobs/job.yaml", "--set", "data.tokenizer=tok");

        Assert.Equal((0, ""), (run.Code, run.Error));
        var data = platform.Script.Only<CreateJobRequest>().Spec.Data;
        Assert.Equal([Path.Combine(cli.Directory, "corpus", "*.txt")], data.Source);
        Assert.Equal(Path.GetDirectoryName(tokenizer), data.Tokenizer.Path);
    }

    [Fact]
    public async Task Watching_a_job_that_succeeds_ends_well_with_its_name_last()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script
            .On<CreateJobRequest, Job>(_ => Samples.Job(JobState.Queued))
            .OnStream<WatchJobRequest, WatchJobResponse>(Samples.Watch(Samples.Job(JobState.Queued), Samples.Job(JobState.Running, 1), Samples.Job(JobState.Succeeded, 20)));
        using var cli = new CommandLine(platform.Address);
        cli.Write("job.yaml", Samples.JobFile);
        cli.Write("corpus/a.txt", "text");

        var run = await cli.RunAsync("train", "job.yaml", "--watch");

        Assert.Equal(0, run.Code);
        Assert.Contains("running  step 1/20  loss 3.2500  12.3k tokens/s", run.OutputLines);
        Assert.Contains("docs-lm-1 succeeded in -: loss 8.5000 → 3.2500", run.OutputLines);
        Assert.Equal("projects/default/jobs/docs-lm-1", run.OutputLines[^1]);
    }
}
