using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // Every test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>Jobs that change while they run, with real ranks: their width, by the scheduler, and their settings, by their owner.</summary>
public sealed class LiveChangeTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 300_000)]
    public async Task A_job_shrinks_for_another_takes_new_settings_and_grows_back_and_misses_no_step()
    {
        using var directory = new TemporaryDirectory();
        await using var server = await StandaloneServer.StartAsync(
            directory.Sub("data"), Cancellation, "--nodes", "2", "--devices-per-node", "2", "--",
            "--Scheduler:PreemptionMinRuntimeSeconds=0", "--Scheduler:ElasticMinRuntimeSeconds=1");
        string text = directory.Write("text.txt", SmallJobs.Text(seed: 6, sentences: 1000));
        string elastic = await SubmitAsync("elastic", dataWidth: 4, steps: 100_000, "resources: { elastic: { min_data: 1 } }");
        var wide = await server.WatchAsync(elastic, job => job.State == JobState.Running && job.Progress.Step >= 3, Cancellation);
        Assert.Equal(4, wide.Ranks.Count);

        string other = await SubmitAsync("other", dataWidth: 2, steps: 40, "");
        var narrow = await server.WatchAsync(elastic, job => job is { State: JobState.Running, Attempt: 2 }, Cancellation);
        Assert.Equal((2, 0), (narrow.Ranks.Count, narrow.Restarts));
        Assert.Equal(JobState.Succeeded, (await server.WatchAsync(other, job => job.State is JobState.Succeeded or JobState.Failed, Cancellation)).State);
        var grown = await server.WatchAsync(elastic, job => job is { State: JobState.Running, Attempt: 3 } && job.Progress.Step > job.CheckpointStep, Cancellation);
        Assert.Equal(4, grown.Ranks.Count);
        Assert.Equal(["NARROWED", "WIDENED"], grown.Events.Select(happened => happened.Kind));

        // A number of steps of which some are left whenever it is taken, and a rate that the points show.
        int steps = grown.Progress.Step + 400;
        var (code, output) = await server.CliAsync(Cancellation, "jobs", "update", elastic, "--steps", $"{steps}", "--lr", "0.02", "--data-width", "2");
        Assert.True(code == 0, output);
        Assert.Contains($"{steps} steps, learning rate 0.02, data-parallel width 2", output, StringComparison.Ordinal);
        var finished = await server.WatchAsync(elastic, job => job.State is JobState.Succeeded or JobState.Failed, Cancellation);

        Assert.True(finished.State == JobState.Succeeded, finished.ToString());
        Assert.Equal((4, 0, "UPDATED"), (finished.Attempt, finished.Restarts, finished.Events[^1].Kind));
        Assert.Equal((2, steps, 0.02), (finished.Ranks.Count, finished.Spec.Training.Steps, finished.Spec.Optimizer.Lr));
        var metrics = await server.Jobs.GetMetricsAsync(new GetMetricsRequest { Name = elastic }, cancellationToken: Cancellation);
        Assert.Equal(Enumerable.Range(1, steps), metrics.Points.Select(point => point.Step));
        Assert.True(metrics.Points.Max(point => point.LearningRate) > 3.01e-3, "The new rate never came.");
        Assert.True(finished.Progress.Loss < finished.Progress.FirstLoss);

        async Task<string> SubmitAsync(string name, int dataWidth, int steps, string extra)
        {
            string job = directory.Write($"{name}.yaml", SmallJobs.Yaml(name, text, 1, 1, dataWidth, steps, 10, extra: extra));
            var (exit, answer) = await server.CliAsync(Cancellation, "train", job);
            Assert.True(exit == 0, answer);
            return answer.TrimEnd().Split('\n')[^1].Trim();
        }
    }
}
