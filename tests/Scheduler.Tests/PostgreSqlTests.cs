using Platform.Core.Gangs;
using Platform.Internal.V1;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>The same service over PostgreSQL.</summary>
public sealed class PostgreSqlTests
{
    [Fact]
    public async Task Runs_restarts_and_takes_over_on_postgresql()
    {
        string? binaries = PostgreSqlServer.FindBinaries();
        Assert.SkipWhen(binaries is null, "PostgreSQL's server is not installed (initdb and postgres under /usr/lib/postgresql).");
        await using var server = await PostgreSqlServer.StartAsync(binaries!);
        await using var cluster = await TestCluster.StartAsync(database: ["--Database:Provider", "postgresql", "--Database:ConnectionString", server.ConnectionString]);
        string request = Guid.NewGuid().ToString();
        var job = await cluster.CreateAsync(cluster.Spec(), request);
        Assert.Equal(job.Name, (await cluster.CreateAsync(cluster.Spec(), request)).Name);
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        string gang = TestCluster.GangOf(running);
        await cluster.Agent("n0").ProgressAsync(new GangProgressReport
        {
            Node = "n0",
            Gang = gang,
            Attempt = 1,
            Phase = "training",
            Points = [new StepMetrics(1, 5, 1, 1000, 1e-3, 0.1), new StepMetrics(1, 4, 1, 1000, 1e-3, 0.1, 3.5)],
        });
        await cluster.WaitForAsync(job.Name, update => update.Progress.Step == 1);
        await cluster.Agent("n0").Nodes.CommitCheckpointAsync(new CommitCheckpointRequest { Gang = gang, Attempt = 1, Step = 10, Directory = $"{gang}/1/10", ManifestSha256 = "hash" });
        await cluster.Agent("n1").FailAsync(gang, TestCluster.RankExit(5));
        await cluster.WaitForAsync(job.Name, update => update is { State: JobState.Running, Attempt: 2, CheckpointStep: 10 });

        await cluster.StartSchedulerAsync(waitUntilLeading: false);
        await cluster.StopSchedulerAsync();
        var after = await cluster.WaitForAsync(job.Name, JobState.Running);
        await cluster.SucceedAllAsync(after);
        var done = await cluster.WaitForAsync(job.Name, JobState.Succeeded);

        Assert.Equal((2, 1, "RANK_EXITED"), (done.Attempt, done.Restarts, done.PastFailures[0].Reason));
        var point = Assert.Single((await cluster.Jobs.GetMetricsAsync(new GetMetricsRequest { Name = job.Name })).Points);
        Assert.Equal((4.0, 3.5), (point.Loss, point.EvalLoss));
        Assert.Single((await cluster.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default", State = JobState.Succeeded })).Jobs);
    }
}
