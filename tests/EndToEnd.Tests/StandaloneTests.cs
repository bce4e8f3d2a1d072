using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // Every test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>The whole platform as a newcomer starts it: <c>platform up</c>, jobs by the command line, text out.</summary>
public sealed class StandaloneTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 300_000)]
    public async Task A_job_trains_over_eight_ranks_registers_deploys_and_answers()
    {
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 1));
        string job = directory.Write("job.yaml", SmallJobs.Yaml("small-lm", data, 2, 2, 2, steps: 12, checkpointEvery: 6,
            output: "output: { register_as: small-lm, deploy: { engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 } } }"));
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);

        var (code, output) = await server.CliAsync(Cancellation, "train", job, "--watch");
        Assert.True(code == 0, output);
        string name = output.TrimEnd().Split('\n')[^1].Trim();
        Assert.StartsWith("projects/default/jobs/small-lm-", name, StringComparison.Ordinal);

        var finished = await server.Jobs.GetJobAsync(new GetJobRequest { Name = name }, cancellationToken: Cancellation);
        Assert.Equal(JobState.Succeeded, finished.State);
        Assert.Equal(12, finished.Progress.Step);
        Assert.True(finished.Progress.Loss < finished.Progress.FirstLoss, $"{finished.Progress.FirstLoss} → {finished.Progress.Loss}");
        Assert.Equal(8, finished.Ranks.Count);

        var metrics = await server.CliAsync(Cancellation, "jobs", "metrics", name, "-o", "json");
        var points = JsonDocument.Parse(metrics.Output).RootElement.GetProperty("points");
        Assert.Equal(Enumerable.Range(1, 12), points.EnumerateArray().Select(point => point.GetProperty("step").GetInt32()));

        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync(
            $"{server.Http}/v1/completions", new { model = "small-lm", prompt = "The scheduler", max_tokens = 12, temperature = 0 }, Cancellation);
        string body = await response.Content.ReadAsStringAsync(Cancellation);
        Assert.True(response.IsSuccessStatusCode, body);
        string text = JsonDocument.Parse(body).RootElement.GetProperty("choices")[0].GetProperty("text").GetString() ?? "";
        Assert.NotEmpty(text);
        var generated = await server.CliAsync(Cancellation, "generate", "small-lm", "The scheduler", "--max-tokens", "12", "--temperature", "0");
        Assert.Equal(0, generated.ExitCode);
        Assert.Contains(text.Trim(), generated.Output, StringComparison.Ordinal);

        // What was exported comes back in by another name, and answers the same.
        string exported = directory.File("exported");
        Assert.Equal((0, ""), Failure(await server.CliAsync(Cancellation, "models", "export", "small-lm", exported)));
        Assert.Equal((0, ""), Failure(await server.CliAsync(Cancellation, "models", "import", exported, "--name", "imported")));
        string deployment = directory.Write("imported.yaml", """
            kind: Deployment
            model: imported
            engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 }
            """);
        Assert.Equal((0, ""), Failure(await server.CliAsync(Cancellation, "deploy", deployment, "--watch")));
        using var again = await http.PostAsJsonAsync(
            $"{server.Http}/v1/completions", new { model = "imported", prompt = "The scheduler", max_tokens = 12, temperature = 0 }, Cancellation);
        Assert.Equal(text, JsonDocument.Parse(await again.Content.ReadAsStringAsync(Cancellation)).RootElement
            .GetProperty("choices")[0].GetProperty("text").GetString());

        string figures = await http.GetStringAsync($"{server.Http}/metrics", Cancellation);
        Assert.Contains("platform_training_loss", figures, StringComparison.Ordinal);
    }

    [Fact(Timeout = 300_000)]
    public async Task Killed_ranks_cost_time_but_no_bit_of_the_result()
    {
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 2));
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        string Job(string name) => directory.Write($"{name}.yaml", SmallJobs.Yaml(
            name, data, 2, 1, 2, steps: 30, checkpointEvery: 5, extra: "retries: { max_restarts: 5 }"));

        string undisturbed = await SubmitAsync(server, Job("undisturbed"));
        await server.WatchAsync(undisturbed, job => job.State == JobState.Succeeded, Cancellation);

        string disturbed = await SubmitAsync(server, Job("disturbed"));
        var random = new Random(11);
        for (int kill = 1; kill <= 2; kill++)
        {
            int attempt = kill;
            var running = await server.WatchAsync(
                disturbed,
                job => job.Attempt == attempt && job.State == JobState.Running && job.Ranks.Count == 4
                    && job.Ranks.All(rank => rank.ProcessId != 0) && job.CheckpointStep >= 5 * attempt,
                Cancellation);
            int victim = running.Ranks[random.Next(4)].ProcessId;
            using var process = Process.GetProcessById(victim);
            process.Kill();
        }
        var finished = await server.WatchAsync(disturbed, job => job.State is JobState.Succeeded or JobState.Failed, Cancellation);
        Assert.True(finished.State == JobState.Succeeded, finished.ToString());
        Assert.Equal(2, finished.Restarts);
        Assert.All(finished.PastFailures, failure => Assert.Equal("RANK_EXITED", failure.Reason));

        Assert.Equal(await WeightsAsync(server, "undisturbed"), await WeightsAsync(server, "disturbed"));
    }

    [Fact(Timeout = 300_000)]
    public async Task Interrupting_the_platform_leaves_no_process_and_the_job_goes_on_after_a_restart()
    {
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 3));
        string home = directory.Sub("data");
        string name;
        List<int> children;
        await using (var server = await StandaloneServer.StartAsync(home, Cancellation))
        {
            name = await SubmitAsync(server, directory.Write("job.yaml", SmallJobs.Yaml("long-lm", data, 1, 1, 2, steps: 400, checkpointEvery: 20)));
            var running = await server.WatchAsync(name, job => job.CheckpointStep >= 20 && job.State == JobState.Running && job.Ranks.All(rank => rank.ProcessId != 0), Cancellation);
            children = [.. running.Ranks.Select(rank => rank.ProcessId)];
            Assert.NotEmpty(children);
            server.Program.Signal("INT");
            Assert.Equal(0, await server.Program.WaitForExitAsync(Cancellation));
        }
        Assert.DoesNotContain(children, IsRank);
        await using (var server = await StandaloneServer.StartAsync(home, Cancellation))
        {
            var finished = await server.WatchAsync(name, job => job.State is JobState.Succeeded or JobState.Failed, Cancellation);
            Assert.True(finished.State == JobState.Succeeded, finished.ToString());
        }
    }

    [Theory(Timeout = 300_000)]
    [InlineData("parallelism: { tensor: 2", "parallelism: { tensor: 3", "parallelism.tensor")]
    [InlineData("pipeline: 1", "pipeline: 4", "parallelism.pipeline")]
    [InlineData("global_batch_size: 8", "global_batch_size: 7", "training.global_batch_size")]
    [InlineData("text.txt", "missing.txt", "missing.txt")]
    [InlineData("global_batch_size", "global_batch_sise", "global_batch_size")]
    public async Task A_bad_job_file_is_refused_with_the_reason_and_leaves_nothing(string good, string bad, string named)
    {
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 4, sentences: 50));
        string job = directory.Write("job.yaml", SmallJobs.Yaml("bad", data, 2, 1, 1, steps: 5, checkpointEvery: 1).Replace(good, bad, StringComparison.Ordinal));
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        var (code, output) = await server.CliAsync(Cancellation, "train", job);
        Assert.NotEqual(0, code);
        Assert.Contains(named, output, StringComparison.Ordinal);
        var jobs = await server.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default" }, cancellationToken: Cancellation);
        Assert.Empty(jobs.Jobs);
    }

    [Fact(Timeout = 300_000)]
    public async Task A_gang_larger_than_the_cluster_is_refused_at_submission()
    {
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 5, sentences: 50));
        string job = directory.Write("job.yaml", SmallJobs.Yaml("big", data, 2, 2, 4, steps: 5, checkpointEvery: 1));
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        var (code, output) = await server.CliAsync(Cancellation, "train", job);
        Assert.NotEqual(0, code);
        Assert.Contains("16", output, StringComparison.Ordinal);
        Assert.Contains("8", output, StringComparison.Ordinal);
        var jobs = await server.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default" }, cancellationToken: Cancellation);
        Assert.Empty(jobs.Jobs);
    }

    // Nothing for a command that succeeded, its code and output otherwise.
    private static (int ExitCode, string Output) Failure((int ExitCode, string Output) result) =>
        result.ExitCode == 0 ? (0, "") : result;

    private static async Task<string> SubmitAsync(StandaloneServer server, string file)
    {
        var (code, output) = await server.CliAsync(Cancellation, "train", file);
        Assert.True(code == 0, output);
        return output.TrimEnd().Split('\n')[^1].Trim();
    }

    private static async Task<string> WeightsAsync(StandaloneServer server, string model)
    {
        var registered = await new ModelService.ModelServiceClient(server.Channel)
            .GetModelAsync(new GetModelRequest { Name = $"projects/default/models/{model}" }, cancellationToken: Cancellation);
        await using var file = File.OpenRead(Path.Combine(registered.Path, "model.safetensors"));
        return Convert.ToHexString(await System.Security.Cryptography.SHA256.HashDataAsync(file, Cancellation));
    }

    // A process id may have been given to somebody else since.
    private static bool IsRank(int id)
    {
        string path = string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/cmdline");
        try
        {
            return File.ReadAllText(path).Contains("platform-worker", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}
