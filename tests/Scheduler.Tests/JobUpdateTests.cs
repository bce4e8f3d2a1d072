using System.Text.Json.Nodes;
using Google.Rpc;
using Grpc.Core;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>Changes to jobs that wait or run, through the real service and its database.</summary>
public sealed class JobUpdateTests
{
    [Fact]
    public async Task Steps_learning_rate_and_width_of_a_running_job_hold_from_its_next_attempt_and_are_shown_at_once()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        var job = await cluster.CreateAsync(Spec(cluster));
        string gang = TestCluster.GangOf(await cluster.WaitForAsync(job.Name, JobState.Running));
        await CommitAsync(cluster, gang, 40);

        var updated = await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = job.Name, Steps = 250, Lr = 5e-4, Data = 1, Priority = 7 });

        Assert.Equal((250, 5e-4, 1, 7), (updated.Spec.Training.Steps, updated.Spec.Optimizer.Lr, updated.Spec.Parallelism.Data, updated.Spec.Priority));
        var again = await cluster.WaitForAsync(job.Name, update => update is { State: JobState.Running, Attempt: 2 });
        Assert.Equal((2, 0, 250), (again.Ranks.Count, again.Restarts, again.Progress.TotalSteps));
        var happened = Assert.Single(again.Events);
        Assert.Equal("UPDATED", happened.Kind);
        Assert.Equal("Its owner changed the steps from 100 to 250, the learning rate from 1e-3 to 5e-4, the data-parallel width from 2 to 1.", happened.Message);
        var told = cluster.Agent("n0").AssignmentOf(gang) ?? throw new InvalidOperationException("Nothing was assigned.");
        var work = JsonNode.Parse(told.Workload);
        Assert.Equal((2, $"{gang}/1/40", 250, 5e-4), (told.WorldSize, told.ResumeFrom, (int)work!["training"]!["steps"]!, (double)work["optimizer"]!["lr"]!));
    }

    [Fact]
    public async Task A_job_that_waits_or_is_paused_is_changed_without_an_attempt_more()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        var first = await cluster.CreateAsync(Spec(cluster));
        await cluster.WaitForAsync(first.Name, JobState.Running);
        var waiting = await cluster.CreateAsync(Spec(cluster));
        await cluster.WaitForAsync(waiting.Name, job => job.State == JobState.Queued);

        await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = waiting.Name, Steps = 30 });
        await cluster.Jobs.PauseJobAsync(new PauseJobRequest { Name = first.Name });
        await cluster.WaitForAsync(first.Name, JobState.Paused);
        var paused = await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = first.Name, Lr = 1e-4 });
        Assert.Equal(JobState.Paused, paused.State);

        var running = await cluster.WaitForAsync(waiting.Name, JobState.Running);
        Assert.Equal((1, 30), (running.Attempt, running.Spec.Training.Steps));
        Assert.Contains("\"steps\":30", cluster.Agent("n0").AssignmentOf(TestCluster.GangOf(running))?.Workload, StringComparison.Ordinal);
        await cluster.SucceedAllAsync(running);
        await cluster.Jobs.ResumeJobAsync(new ResumeJobRequest { Name = first.Name });
        var resumed = await cluster.WaitForAsync(first.Name, JobState.Running);
        Assert.Equal((2, 1e-4), (resumed.Attempt, resumed.Spec.Optimizer.Lr));
        Assert.Equal(["PAUSED", "UPDATED", "RESUMED"], resumed.Events.Select(happened => happened.Kind));
    }

    [Fact]
    public async Task What_cannot_be_is_refused_with_the_reason_and_nothing_is_changed()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        var job = await cluster.CreateAsync(Spec(cluster));
        string gang = TestCluster.GangOf(await cluster.WaitForAsync(job.Name, JobState.Running));
        await CommitAsync(cluster, gang, 40);

        await RefusedAsync(new UpdateJobRequest { Steps = 40 }, "steps", "40 steps are done");
        await RefusedAsync(new UpdateJobRequest { Data = 3, Priority = 900 }, "spec.training.global_batch_size", "");
        await RefusedAsync(new UpdateJobRequest { Lr = -1 }, "spec.optimizer.lr", "");
        var large = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = job.Name, Data = 4 }));
        Assert.Equal((StatusCode.FailedPrecondition, "INFEASIBLE_CAPACITY"), (large.StatusCode, large.GetRpcStatus()?.GetDetail<ErrorInfo>()?.Reason));
        var nothing = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = job.Name }));
        Assert.Equal(StatusCode.InvalidArgument, nothing.StatusCode);
        var unchanged = await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = job.Name, Steps = 100 });
        Assert.Equal((1, JobState.Running, 100, 0), (unchanged.Attempt, unchanged.State, unchanged.Spec.Priority, unchanged.Events.Count));

        await cluster.SucceedAllAsync(unchanged);
        await cluster.WaitForAsync(job.Name, JobState.Succeeded);
        var over = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = job.Name, Steps = 500 }));
        Assert.Equal((StatusCode.FailedPrecondition, "JOB_ENDED"), (over.StatusCode, over.GetRpcStatus()?.GetDetail<ErrorInfo>()?.Reason));

        async Task RefusedAsync(UpdateJobRequest request, string field, string why)
        {
            request.Name = job.Name;
            var refused = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.UpdateJobAsync(request));
            Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
            var violation = refused.GetRpcStatus()?.GetDetail<BadRequest>()?.FieldViolations.FirstOrDefault(violation => violation.Field == field);
            Assert.True(violation is not null, $"{field}: {refused.Status.Detail} {refused.GetRpcStatus()}");
            Assert.Contains(why, violation.Description, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task An_elastic_job_gives_width_to_another_and_takes_it_back()
    {
        await using var cluster = await TestCluster.StartAsync(
            nodes: 1, options: ["--Scheduler:PreemptionMinRuntimeSeconds=0", "--Scheduler:ElasticMinRuntimeSeconds=0.2"]);
        var elastic = await cluster.CreateAsync(cluster.Spec("elastic", """{"data":4,"micro_batch_size":1}""", ""","resources":{"elastic":{"min_data":1}}"""));
        Assert.Equal(4, (await cluster.WaitForAsync(elastic.Name, JobState.Running)).Ranks.Count);

        var other = await cluster.CreateAsync(cluster.Spec("other", """{"data":2}"""));

        var narrow = await cluster.WaitForAsync(elastic.Name, job => job is { State: JobState.Running, Attempt: 2 });
        var running = await cluster.WaitForAsync(other.Name, JobState.Running);
        Assert.Equal((2, 2, 0), (narrow.Ranks.Count, running.Ranks.Count, narrow.Restarts));
        await cluster.SucceedAllAsync(running);
        var wide = await cluster.WaitForAsync(elastic.Name, job => job is { State: JobState.Running, Attempt: 3 });
        Assert.Equal(4, wide.Ranks.Count);
        Assert.Equal(["NARROWED", "WIDENED"], wide.Events.Select(happened => happened.Kind));
        Assert.Contains("from a data-parallel width of 4 to 2: makes room for", wide.Events[0].Message, StringComparison.Ordinal);
    }

    private static JobSpec Spec(TestCluster cluster) => cluster.Spec(
        parallelism: """{"tensor":2,"data":2,"micro_batch_size":1}""", extra: ""","optimizer":{"lr":0.001},"checkpoint":{"every_steps":10}""");

    private static async Task CommitAsync(TestCluster cluster, string gang, int step) => await cluster.Agent("n0").Nodes.CommitCheckpointAsync(
        new Platform.Internal.V1.CommitCheckpointRequest { Gang = gang, Attempt = 1, Step = step, Directory = $"{gang}/1/{step}", ManifestSha256 = $"hash-{step}" });
}
