using Grpc.Core;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Internal.V1;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>Gangs through the real service, its database, lease calls and messages.</summary>
public sealed class GangTests
{
    [Fact]
    public async Task Runs_a_gang_from_the_queue_to_success_and_frees_its_devices()
    {
        await using var cluster = await TestCluster.StartAsync();
        var created = await cluster.CreateAsync(cluster.Spec());
        Assert.Matches("^projects/default/jobs/lm-[a-z2-7]{6}$", created.Name);

        var running = await cluster.WaitForAsync(created.Name, JobState.Running);
        Assert.Equal(Enumerable.Range(0, 8), running.Ranks.Select(rank => rank.Rank));
        Assert.All(running.Ranks, rank => Assert.Equal(1000 + rank.Rank, rank.ProcessId));
        Assert.True(cluster.Agent("n0").MessagesReceived > 0, "the commands came over the bus");
        await cluster.SucceedAllAsync(running);

        var done = await cluster.WaitForAsync(created.Name, JobState.Succeeded);
        Assert.Equal((1, 0), (done.Attempt, done.Restarts));
        Assert.NotNull(done.EndTime);
        var nodes = await cluster.Nodes.ListNodesAsync(new ListNodesRequest());
        Assert.All(nodes.Nodes.SelectMany(node => node.Devices), device => Assert.Equal(0, device.AllocatedMilli));
    }

    [Fact]
    public async Task Queues_again_when_a_node_refuses_and_prefers_another()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 2, devices: 2);
        cluster.Agent("n0").Preflight = _ => new GangFailure { Code = FailureCode.DevicesUnavailable, Message = "Occupied." };
        var job = await cluster.CreateAsync(cluster.Spec(parallelism: """{"tensor":2}"""));

        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        Assert.Equal((2, 1), (running.Attempt, running.Restarts));
        Assert.Equal(("DEVICES_UNAVAILABLE", "n0"), (running.PastFailures[0].Reason, running.PastFailures[0].Node));
        Assert.All(running.Ranks, rank => Assert.Equal("n1", rank.Node));
    }

    [Fact]
    public async Task Resumes_from_the_last_committed_checkpoint_after_a_rank_failed_and_refuses_commits_of_the_attempt_before()
    {
        await using var cluster = await TestCluster.StartAsync();
        var job = await cluster.CreateAsync(cluster.Spec(extra: ""","checkpoint":{"every_steps":10,"keep":1}"""));
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        string gang = TestCluster.GangOf(running);
        await CommitAsync(cluster, gang, 1, 10);
        var second = await CommitAsync(cluster, gang, 1, 20);
        Assert.Equal([$"{gang}/1/10"], second.ExpiredDirectories);
        await cluster.Agent("n0").FailAsync(gang, TestCluster.RankExit(3));

        var again = await cluster.WaitForAsync(job.Name, update => update is { State: JobState.Running, Attempt: 2 });
        Assert.Equal(20, again.CheckpointStep);
        Assert.Equal(("RANK_EXITED", 3, 1), (again.PastFailures[0].Reason, again.PastFailures[0].Rank, again.PastFailures[0].Attempt));
        Assert.Equal(["last line"], again.PastFailures[0].LogTail);
        Assert.Equal($"{gang}/1/20", cluster.Agent("n0").AssignmentOf(gang)?.ResumeFrom);

        var stale = await Assert.ThrowsAsync<RpcException>(() => CommitAsync(cluster, gang, 1, 30));
        Assert.Equal(StatusCode.FailedPrecondition, stale.StatusCode);
        await CommitAsync(cluster, gang, 2, 30);
    }

    [Fact]
    public async Task Moves_a_gang_off_a_node_that_falls_silent()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 2, devices: 2);
        var job = await cluster.CreateAsync(cluster.Spec(parallelism: """{"tensor":2}"""));
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        cluster.Agent(running.Ranks[0].Node).Dead = true;

        var again = await cluster.WaitForAsync(job.Name, update => update is { State: JobState.Running, Attempt: 2 });
        Assert.Equal("NODE_LOST", again.PastFailures[0].Reason);
        Assert.NotEqual(running.Ranks[0].Node, again.Ranks[0].Node);
        var nodes = await cluster.Nodes.ListNodesAsync(new ListNodesRequest());
        Assert.Equal(NodeState.Lost, nodes.Nodes.Single(node => node.Name == $"nodes/{running.Ranks[0].Node}").State);
    }

    [Fact]
    public async Task Gets_there_without_a_single_message()
    {
        await using var inner = MassTransitBus.InMemory(Microsoft.Extensions.Logging.Abstractions.NullLoggerFactory.Instance);
        await inner.StartAsync(CancellationToken.None);
        await using var cluster = await TestCluster.StartAsync(bus: new FaultInjectingBus(inner, new BusFaultOptions { Lose = 1 }, TimeProvider.System));
        var job = await cluster.CreateAsync(cluster.Spec());
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        Assert.Equal(0, cluster.Agent("n0").MessagesReceived);
        await cluster.SucceedAllAsync(running);
        await cluster.WaitForAsync(job.Name, JobState.Succeeded);
    }

    [Fact]
    public async Task Goes_on_with_everything_after_the_scheduler_was_replaced_in_the_middle_of_a_run()
    {
        await using var cluster = await TestCluster.StartAsync();
        var job = await cluster.CreateAsync(cluster.Spec());
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        string gang = TestCluster.GangOf(running);
        await CommitAsync(cluster, gang, 1, 10);
        var waiting = await cluster.CreateAsync(cluster.Spec("next"));

        var standby = await cluster.StartSchedulerAsync(waitUntilLeading: false);
        var refused = await Assert.ThrowsAsync<RpcException>(async () => await new JobService.JobServiceClient(standby).GetJobAsync(new GetJobRequest { Name = job.Name }));
        Assert.Equal(StatusCode.Unavailable, refused.StatusCode);
        await cluster.StopSchedulerAsync();

        var after = await cluster.WaitForAsync(job.Name, JobState.Running);
        Assert.Equal((1, 10), (after.Attempt, after.CheckpointStep));
        await cluster.SucceedAllAsync(after);
        await cluster.WaitForAsync(job.Name, JobState.Succeeded);
        await cluster.WaitForAsync(waiting.Name, JobState.Running);
    }

    [Fact]
    public async Task Cancels_pauses_and_resumes()
    {
        await using var cluster = await TestCluster.StartAsync();
        var job = await cluster.CreateAsync(cluster.Spec());
        await cluster.WaitForAsync(job.Name, JobState.Running);
        await cluster.Jobs.PauseJobAsync(new PauseJobRequest { Name = job.Name });
        await cluster.WaitForAsync(job.Name, JobState.Paused);
        await cluster.Jobs.ResumeJobAsync(new ResumeJobRequest { Name = job.Name });
        var resumed = await cluster.WaitForAsync(job.Name, JobState.Running);
        Assert.Equal((2, 0), (resumed.Attempt, resumed.Restarts));
        await cluster.Jobs.CancelJobAsync(new CancelJobRequest { Name = job.Name });
        await cluster.WaitForAsync(job.Name, JobState.Cancelled);
        Assert.Equal(JobState.Cancelled, (await cluster.Jobs.CancelJobAsync(new CancelJobRequest { Name = job.Name })).State);
        var ended = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.PauseJobAsync(new PauseJobRequest { Name = job.Name }));
        Assert.Equal(StatusCode.FailedPrecondition, ended.StatusCode);
    }

    [Fact]
    public async Task Keeps_one_point_per_step_when_an_attempt_repeats_it()
    {
        await using var cluster = await TestCluster.StartAsync();
        var job = await cluster.CreateAsync(cluster.Spec());
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        string gang = TestCluster.GangOf(running);
        await ReportAsync(attempt: 1, (1, 5.0), (2, 4.0), (3, 3.5));
        await cluster.WaitForAsync(job.Name, update => update.Progress.Step == 3);
        await cluster.Agent("n0").FailAsync(gang, TestCluster.RankExit(0));
        await cluster.WaitForAsync(job.Name, update => update is { State: JobState.Running, Attempt: 2 });
        await ReportAsync(attempt: 1, (9, 9.0));
        await ReportAsync(attempt: 2, (3, 3.0), (4, 2.5));

        var progress = (await cluster.WaitForAsync(job.Name, update => update.Progress.Step == 4)).Progress;
        Assert.Equal((100, 5.0, 2.5, "training"), (progress.TotalSteps, progress.FirstLoss, progress.Loss, progress.Phase));
        var metrics = await cluster.Jobs.GetMetricsAsync(new GetMetricsRequest { Name = job.Name });
        Assert.Equal([(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.5)], metrics.Points.Select(point => (point.Step, point.Loss)));
        Assert.Equal([4], (await cluster.Jobs.GetMetricsAsync(new GetMetricsRequest { Name = job.Name, AfterStep = 3 })).Points.Select(point => point.Step));

        Task ReportAsync(int attempt, params (int Step, double Loss)[] points) => cluster.Agent("n0").ProgressAsync(new GangProgressReport
        {
            Node = "n0",
            Gang = gang,
            Attempt = attempt,
            Phase = "training",
            Points = [.. points.Select(point => new StepMetrics(point.Step, point.Loss, 1, 1000, 1e-3, 0.1))],
        });
    }

    [Fact]
    public async Task Drains_a_node_by_moving_its_gang()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 2, devices: 2);
        var job = await cluster.CreateAsync(cluster.Spec(parallelism: """{"tensor":2}"""));
        string node = (await cluster.WaitForAsync(job.Name, JobState.Running)).Ranks[0].Node;
        await cluster.Nodes.DrainNodeAsync(new DrainNodeRequest { Name = $"nodes/{node}" });

        var moved = await cluster.WaitForAsync(job.Name, update => update is { State: JobState.Running, Attempt: 2 });
        Assert.NotEqual(node, moved.Ranks[0].Node);
        Assert.Equal(NodeState.Drained, (await cluster.Nodes.GetNodeAsync(new GetNodeRequest { Name = $"nodes/{node}" })).State);
        Assert.Equal(NodeState.Ready, (await cluster.Nodes.UndrainNodeAsync(new UndrainNodeRequest { Name = $"nodes/{node}" })).State);
    }

    private static async Task<CommitCheckpointResponse> CommitAsync(TestCluster cluster, string gang, int attempt, int step) =>
        await cluster.Agent("n0").Nodes.CommitCheckpointAsync(new CommitCheckpointRequest
        {
            Gang = gang,
            Attempt = attempt,
            Step = step,
            Directory = $"{gang}/{attempt}/{step}",
            ManifestSha256 = $"hash-{attempt}-{step}",
        });
}
