using Grpc.Core;
using Platform.Hosting.Network;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>The account of what was used, and budgets, through the real service and its database.</summary>
public sealed class UsageTests
{
    [Fact]
    public async Task A_queue_that_used_up_its_budget_starts_nothing_until_it_is_raised_also_after_a_restart()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1, options: ["--Scheduler:DevicePricePerHour:cpu=3600"]);
        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/company", Budget = new Budget { Money = 1e-6 } } });
        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/research", Parent = "queues/company" } });
        var first = await CreateAsync(cluster, "first", "research", "ada");
        await cluster.WaitForAsync(first.Name, JobState.Running);
        var second = await CreateAsync(cluster, "second", "research", "ada");

        // The first goes on; the second waits for the budget of the queue above.
        var waiting = await cluster.WaitForAsync(second.Name, job => job.StateReason.Contains("of its budget of", StringComparison.Ordinal));
        Assert.Equal("ada", waiting.User);
        var why = await cluster.Jobs.ExplainJobAsync(new ExplainJobRequest { Name = second.Name });
        Assert.Equal(("BUDGET", 1), (why.Reasons[0].Reason, why.Position));
        Assert.Contains("a larger budget for queue company", why.Counterfactuals);
        await cluster.SucceedAllAsync(await cluster.WaitForAsync(first.Name, JobState.Running));
        await cluster.WaitForAsync(first.Name, JobState.Succeeded);

        // A standby takes over the account with the rest.
        await cluster.StartSchedulerAsync(waitUntilLeading: false);
        await cluster.StopSchedulerAsync();
        await cluster.WaitForAsync(second.Name, job => job.StateReason.Contains("of its budget of", StringComparison.Ordinal));
        var company = (await cluster.Nodes.ListQueuesAsync(new ListQueuesRequest())).Queues.Single(queue => queue.Name == "queues/company");
        Assert.True(company.BudgetUse.Exhausted);
        Assert.Null(company.BudgetUse.PeriodStartTime);
        Assert.Equal((await cluster.Jobs.GetJobAsync(new GetJobRequest { Name = first.Name })).Cost, company.BudgetUse.Money, 1e-9);

        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/company", Budget = new Budget { Money = 1e6, Period = BudgetPeriod.Month } } });
        await cluster.WaitForAsync(second.Name, JobState.Running);
        company = (await cluster.Nodes.ListQueuesAsync(new ListQueuesRequest())).Queues.Single(queue => queue.Name == "queues/company");
        Assert.Equal((false, 1), (company.BudgetUse.Exhausted, company.BudgetUse.PeriodStartTime.ToDateTime().Day));
    }

    [Fact]
    public async Task Usage_is_counted_once_by_job_queue_and_user()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1, options: ["--Scheduler:DevicePricePerHour:cpu=2"]);
        var first = await CreateAsync(cluster, "first", "research", "ada", data: 2);
        var second = await CreateAsync(cluster, "second", "product", "grace");
        await cluster.WaitForAsync(second.Name, JobState.Running);
        var failed = await cluster.WaitForAsync(first.Name, JobState.Running);
        await cluster.Agent("n0").FailAsync(TestCluster.GangOf(failed), TestCluster.RankExit(1));
        await cluster.SucceedAllAsync(await cluster.WaitForAsync(first.Name, job => job is { State: JobState.Running, Attempt: 2 }));
        var done = await cluster.WaitForAsync(first.Name, JobState.Succeeded);
        await cluster.SucceedAllAsync(await cluster.WaitForAsync(second.Name, JobState.Running));
        await cluster.WaitForAsync(second.Name, JobState.Succeeded);

        var byJob = await cluster.Nodes.QueryUsageAsync(new QueryUsageRequest { GroupBy = UsageGrouping.Job });
        var byQueue = await cluster.Nodes.QueryUsageAsync(new QueryUsageRequest());
        var byUser = await cluster.Nodes.QueryUsageAsync(new QueryUsageRequest { GroupBy = UsageGrouping.User });
        var adas = await cluster.Nodes.QueryUsageAsync(new QueryUsageRequest { GroupBy = UsageGrouping.User, User = "ada" });
        var researchs = await cluster.Nodes.QueryUsageAsync(new QueryUsageRequest { Queue = "queues/research", Limit = 1 });

        var row = byJob.Rows.Single(row => row.Name == first.Name);
        Assert.Equal(2, row.Attempts);
        // The same attempts, added up elsewhere and in another order.
        Assert.Equal(done.DeviceHours, row.DeviceHours, 1e-12);
        Assert.Equal(done.DeviceHours * 2, row.Cost, 1e-12);
        Assert.Equal(done.DeviceHours, row.DeviceHoursByKind["cpu"], 1e-12);
        Assert.Equal(["queues/product", "queues/research"], byQueue.Rows.Select(each => each.Name).Order(StringComparer.Ordinal));
        Assert.Equal(["users/ada", "users/grace"], byUser.Rows.Select(each => each.Name).Order(StringComparer.Ordinal));
        foreach (var response in new[] { byJob, byQueue, byUser })
        {
            Assert.Equal(byJob.Total.DeviceHours, response.Rows.Sum(each => each.DeviceHours), 1e-12);
            Assert.Equal(3, response.Total.Attempts);
        }

        Assert.Equal(done.DeviceHours, Assert.Single(adas.Rows).DeviceHours, 1e-12);
        Assert.Equal(done.DeviceHours, Assert.Single(researchs.Rows).DeviceHours, 1e-12);
        var before = await cluster.Nodes.QueryUsageAsync(new QueryUsageRequest { EndTime = done.CreateTime });
        Assert.Empty(before.Rows);
    }

    [Fact]
    public async Task Refuses_budgets_and_queries_that_make_no_sense_with_everything_that_is_wrong()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);

        var budget = await Assert.ThrowsAsync<RpcException>(() => cluster.Nodes.UpdateQueueAsync(
            new UpdateQueueRequest { Queue = new Queue { Name = "queues/a", Budget = new Budget { DeviceHours = -1, Money = 5 } } }).ResponseAsync);
        var query = await Assert.ThrowsAsync<RpcException>(() => cluster.Nodes.QueryUsageAsync(new QueryUsageRequest { Queue = "a", Limit = -1 }).ResponseAsync);

        Assert.Equal((StatusCode.InvalidArgument, StatusCode.InvalidArgument), (budget.StatusCode, query.StatusCode));
        Assert.Contains("DevicePricePerHour", budget.Status.Detail, StringComparison.Ordinal);
    }

    private static async Task<Job> CreateAsync(TestCluster cluster, string name, string queue, string user, int data = 1)
    {
        var spec = cluster.Spec(name, $$"""{"data":{{data}}}""");
        spec.Queue = queue;
        return await cluster.Jobs.CreateJobAsync(new CreateJobRequest { Parent = "projects/default", Spec = spec }, CallerHeader.Of(user));
    }
}
