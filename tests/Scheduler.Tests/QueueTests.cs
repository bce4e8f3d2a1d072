using Grpc.Core;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>Queues, priorities and making room through the real service and its database.</summary>
public sealed class QueueTests
{
    [Fact]
    public async Task A_queues_quota_holds_is_shown_and_outlives_the_scheduler()
    {
        await using var cluster = await TestCluster.StartAsync();
        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/all" } });
        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/other", Parent = "queues/all", NominalQuota = { ["cpu"] = 4 } } });
        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest
        {
            Queue = new Queue { Name = "queues/research", Parent = "queues/all", NominalQuota = { ["cpu"] = 2 }, BorrowingLimit = { ["cpu"] = 1 }, Weight = 2 },
        });
        var first = await cluster.CreateAsync(Job(cluster, "first", "research", data: 2));
        var second = await cluster.CreateAsync(Job(cluster, "second", "research", data: 2));
        await cluster.WaitForAsync(first.Name, JobState.Running);

        var waiting = await cluster.WaitForAsync(second.Name, job => job.StateReason.Contains("queue research uses 2 of its own 2", StringComparison.Ordinal));
        var why = await cluster.Jobs.ExplainJobAsync(new ExplainJobRequest { Name = waiting.Name });
        Assert.Equal("QUOTA", why.Reasons[0].Reason);
        Assert.Contains("would start now with 1 more cpu devices of quota for queue research", why.Counterfactuals);
        var third = await cluster.CreateAsync(Job(cluster, "third", "research"));
        Assert.Equal(JobState.Queued, third.State);

        // A standby takes over what the leader committed.
        await cluster.StartSchedulerAsync(waitUntilLeading: false);
        await cluster.StopSchedulerAsync();
        await cluster.WaitForAsync(second.Name, JobState.Queued);
        var queue = (await cluster.Nodes.ListQueuesAsync(new ListQueuesRequest())).Queues.Single(queue => queue.Name == "queues/research");
        Assert.Equal((2, 2, 1, 2.0, 2), (queue.NominalQuota["cpu"], queue.Used["cpu"], queue.BorrowingLimit["cpu"], queue.Weight, queue.PendingJobs));
        Assert.Equal(2 / 8.0 / 2, queue.Share, 1e-9);

        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/research", Parent = "queues/all", NominalQuota = { ["cpu"] = 4 } } });
        await cluster.WaitForAsync(second.Name, JobState.Running);
    }

    [Fact]
    public async Task Refuses_a_queue_that_makes_no_sense_with_everything_that_is_wrong()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);

        var names = await Assert.ThrowsAsync<RpcException>(() => cluster.Nodes.UpdateQueueAsync(
            new UpdateQueueRequest { Queue = new Queue { Name = "research", NominalQuota = { ["cpu"] = -1 } } }).ResponseAsync);
        var parent = await Assert.ThrowsAsync<RpcException>(() => cluster.Nodes.UpdateQueueAsync(
            new UpdateQueueRequest { Queue = new Queue { Name = "queues/a", Parent = "queues/none" } }).ResponseAsync);

        Assert.Equal((StatusCode.InvalidArgument, StatusCode.InvalidArgument), (names.StatusCode, parent.StatusCode));
        Assert.Contains("none does not exist", parent.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_job_whose_priority_is_raised_gets_the_devices_of_one_that_makes_room()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1, options: ["--Scheduler:PreemptionMinRuntimeSeconds=0"]);
        var low = await cluster.CreateAsync(Job(cluster, "low", "default", data: 4));
        await cluster.WaitForAsync(low.Name, JobState.Running);
        var high = await cluster.CreateAsync(Job(cluster, "high", "default", data: 4));
        await cluster.WaitForAsync(high.Name, job => job.State == JobState.Queued && job.StateReason.Length > 0);

        var updated = await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = high.Name, Priority = 500 });

        Assert.Equal(500, updated.Spec.Priority);
        await cluster.WaitForAsync(high.Name, JobState.Running);
        var gone = await cluster.WaitForAsync(low.Name, JobState.Queued);
        Assert.Equal((1, 0), (gone.Attempt, gone.Restarts));
    }

    [Fact]
    public async Task A_cordoned_node_keeps_its_gang_and_takes_no_other()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        var first = await cluster.CreateAsync(Job(cluster, "first", "default"));
        await cluster.WaitForAsync(first.Name, JobState.Running);

        var node = await cluster.Nodes.DrainNodeAsync(new DrainNodeRequest { Name = "nodes/n0", KeepGangs = true });
        var second = await cluster.CreateAsync(Job(cluster, "second", "default"));

        Assert.Equal(NodeState.Cordoned, node.State);
        await cluster.WaitForAsync(second.Name, job => job.StateReason.Contains("n0 (cordoned)", StringComparison.Ordinal));
        Assert.Equal(JobState.Running, (await cluster.Jobs.GetJobAsync(new GetJobRequest { Name = first.Name })).State);
        await cluster.Nodes.UndrainNodeAsync(new UndrainNodeRequest { Name = "nodes/n0" });
        await cluster.WaitForAsync(second.Name, JobState.Running);
    }

    private static JobSpec Job(TestCluster cluster, string name, string queue, int data = 1)
    {
        var spec = cluster.Spec(name, $$"""{"data":{{data}}}""");
        spec.Queue = queue;
        return spec;
    }
}
