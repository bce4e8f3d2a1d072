using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>What is left of jobs in the artifact store.</summary>
public sealed class RetentionTests
{
    [Fact]
    public async Task Checkpoints_of_ended_jobs_go_in_time_and_those_that_somebody_needs_stay()
    {
        await using var cluster = await TestCluster.StartAsync(options: ["--Scheduler:FailedCheckpointHours", "0.0002"]);
        var (ended, paused) = (await RunAsync("ended"), await RunAsync("paused"));
        string old = Checkpoint(ended, 1, "00000010"), half = Checkpoint(ended, 1, "00000020"), resumable = Checkpoint(paused, 1, "00000010");
        string log = Write(Path.Combine(HomeOf(ended), "1", "logs", "rank-0.log"));
        string model = Write(Path.Combine(HomeOf(ended), "1", "model", "config.json"));
        await cluster.Jobs.PauseJobAsync(new PauseJobRequest { Name = paused.Name });
        await cluster.WaitForAsync(paused.Name, JobState.Paused);
        await cluster.Jobs.CancelJobAsync(new CancelJobRequest { Name = ended.Name });
        await cluster.WaitForAsync(ended.Name, JobState.Cancelled);

        await TestCluster.UntilAsync(() => Task.FromResult(!Directory.Exists(old) && !Directory.Exists(half)));

        Assert.True(File.Exists(log) && File.Exists(model) && Directory.Exists(resumable));

        async Task<Job> RunAsync(string name)
        {
            var job = await cluster.CreateAsync(cluster.Spec(name, """{"tensor":2}"""));
            return await cluster.WaitForAsync(job.Name, JobState.Running);
        }

        string HomeOf(Job job) => Path.Combine(cluster.ArtifactRoot, TestCluster.GangOf(job));

        string Checkpoint(Job job, int attempt, string step) =>
            Path.GetDirectoryName(Write(Path.Combine(HomeOf(job), $"{attempt}", step, "checkpoint.json"))) ?? "";
    }

    private static string Write(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path) ?? "");
        File.WriteAllText(path, "");
        return path;
    }
}
