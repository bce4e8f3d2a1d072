using Google.Rpc;
using Grpc.Core;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>What is refused, and what is not done twice.</summary>
public sealed class SubmissionTests
{
    [Fact]
    public async Task Tells_everything_that_is_wrong_with_a_job_at_once_and_keeps_nothing()
    {
        await using var cluster = await TestCluster.StartAsync();
        var spec = cluster.Spec(parallelism: """{"tensor":3}""");
        spec.Training.Steps = 0;
        var error = await Assert.ThrowsAsync<RpcException>(() => cluster.CreateAsync(spec, "not-a-uuid"));

        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        var violations = error.GetRpcStatus()!.GetDetail<BadRequest>()!.FieldViolations.Select(violation => violation.Field).ToList();
        Assert.Contains("spec.training.steps", violations);
        Assert.Contains("request_id", violations);
        Assert.Contains(violations, field => field.StartsWith("spec.parallelism", StringComparison.Ordinal));
        Assert.Equal("platform", error.GetRpcStatus()!.GetDetail<ErrorInfo>()!.Domain);
        Assert.Empty((await cluster.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default" })).Jobs);
    }

    [Fact]
    public async Task Refuses_data_that_does_not_exist()
    {
        await using var cluster = await TestCluster.StartAsync();
        var spec = cluster.Spec();
        spec.Data.Source.Add("/does/not/exist.txt");
        var error = await Assert.ThrowsAsync<RpcException>(() => cluster.CreateAsync(spec));

        Assert.Equal(["spec.data.source[1]"], error.GetRpcStatus()!.GetDetail<BadRequest>()!.FieldViolations.Select(violation => violation.Field));
    }

    [Fact]
    public async Task Refuses_a_gang_that_the_empty_cluster_cannot_hold_and_says_by_how_much()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1, devices: 4);
        var error = await Assert.ThrowsAsync<RpcException>(() => cluster.CreateAsync(cluster.Spec()));

        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
        Assert.Equal("INFEASIBLE_CAPACITY", error.GetRpcStatus()!.GetDetail<ErrorInfo>()!.Reason);
        Assert.Contains("4 of its 8 ranks find no place", error.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Checks_without_creating_when_asked_to()
    {
        await using var cluster = await TestCluster.StartAsync();
        var checkedOnly = await cluster.Jobs.CreateJobAsync(new CreateJobRequest { Parent = "projects/default", Spec = cluster.Spec(), ValidateOnly = true });

        Assert.Equal(("", "lm"), (checkedOnly.Name, checkedOnly.Spec.Name));
        Assert.Empty((await cluster.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default" })).Jobs);
    }

    [Fact]
    public async Task Creates_one_job_however_often_a_request_is_sent()
    {
        await using var cluster = await TestCluster.StartAsync();
        string request = Guid.NewGuid().ToString();
        var jobs = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => cluster.CreateAsync(cluster.Spec(), request)));

        Assert.Single(jobs.Select(job => job.Name).Distinct());
        Assert.Single((await cluster.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default" })).Jobs);
        var other = await Assert.ThrowsAsync<RpcException>(() => cluster.CreateAsync(cluster.Spec("other"), request));
        Assert.Equal(StatusCode.AlreadyExists, other.StatusCode);
    }

    [Fact]
    public async Task Lists_jobs_page_by_page_newest_first()
    {
        await using var cluster = await TestCluster.StartAsync();
        var created = new List<string>();
        for (int n = 0; n < 5; n++)
        {
            created.Insert(0, (await cluster.CreateAsync(cluster.Spec($"job{n}"))).Name);
        }

        var seen = new List<string>();
        string token = "";
        do
        {
            var page = await cluster.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default", PageSize = 2, PageToken = token });
            Assert.InRange(page.Jobs.Count, 1, 2);
            seen.AddRange(page.Jobs.Select(job => job.Name));
            token = page.NextPageToken;
        }
        while (token.Length > 0);

        Assert.Equal(created, seen);
        var error = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default", PageSize = -1, PageToken = "x" }));
        Assert.Equal(2, error.GetRpcStatus()!.GetDetail<BadRequest>()!.FieldViolations.Count);
    }

    [Fact]
    public async Task Explains_why_a_job_waits_and_what_would_unblock_it()
    {
        await using var cluster = await TestCluster.StartAsync();
        await cluster.WaitForAsync((await cluster.CreateAsync(cluster.Spec())).Name, JobState.Running);
        var waiting = await cluster.CreateAsync(cluster.Spec("second"));
        await cluster.WaitForAsync(waiting.Name, job => job.StateReason.Contains("0 of 8 are free", StringComparison.Ordinal));

        var explained = await cluster.Jobs.ExplainJobAsync(new ExplainJobRequest { Name = waiting.Name });
        Assert.Equal((1, "CAPACITY"), (explained.Position, explained.Reasons[0].Reason));
        Assert.Contains("8 more cpu devices become free", explained.Counterfactuals);
    }

    [Fact]
    public async Task Plans_a_job_before_it_is_submitted()
    {
        await using var cluster = await TestCluster.StartAsync();
        var plan = await cluster.Jobs.PlanJobAsync(new PlanJobRequest { Parent = "projects/default", Spec = cluster.Spec() });

        // 257 bytes and special tokens twice 32, four layers of 3*32*64 + 32*32*2 + 2*32*16 + 2*32, and the last norm.
        Assert.Equal((2 * 257 * 32) + (4 * ((3 * 32 * 64) + (32 * 32 * 2) + (2 * 32 * 16) + (2 * 32))) + 32, plan.Parameters);
        Assert.Equal(100.0 * 8 * 32 * ((6.0 * plan.Parameters) + (6.0 * 4 * 32 * 32)), plan.TotalFlops, 1e3);
        Assert.Equal(1.0 / 5, plan.BubbleFraction, 1e-9);
        Assert.True(plan.BytesPerRank > plan.Parameters);
    }

    [Fact]
    public async Task Runs_a_job_with_the_layout_that_the_planner_chooses()
    {
        await using var cluster = await TestCluster.StartAsync();
        var job = await cluster.CreateAsync(cluster.Spec(parallelism: """{"auto":true}"""));

        // The model is tiny and eight devices are there: every rank has it whole and an eighth of the batch.
        Assert.True(job.Spec.Parallelism.Auto);
        Assert.Equal((1, 1, 8, 1), (job.Layout.Tensor, job.Layout.Pipeline, job.Layout.Data, job.Layout.MicroBatchSize));
        Assert.True(job.Predicted.BytesPerRank > 0 && job.Predicted.StepSeconds > 0 && job.Predicted.Memory.States > 0);
        Assert.Equal(8, (await cluster.WaitForAsync(job.Name, JobState.Running)).Ranks.Count);
        var plan = await cluster.Jobs.PlanJobAsync(new PlanJobRequest
        {
            Parent = "projects/default",
            Spec = cluster.Spec(),
            Cluster = new PlanCluster { Nodes = 2, DevicesPerNode = 8, DeviceKind = "h100" },
            PricePerDeviceHour = 3,
        });
        Assert.Equal(("h100", ""), (plan.DeviceKind, plan.Infeasible));
        Assert.True(plan.Cost > 0);
        var refused = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.PlanJobAsync(
            new PlanJobRequest { Parent = "projects/default", Spec = cluster.Spec(), Cluster = new PlanCluster { DeviceKind = "abacus" } }));
        Assert.Equal(3, refused.GetRpcStatus()!.GetDetail<BadRequest>()!.FieldViolations.Count);
    }

    [Fact]
    public async Task Says_of_a_job_that_there_is_none()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        var update = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.UpdateJobAsync(new UpdateJobRequest { Name = "projects/default/jobs/x", Steps = 5 }));
        Assert.Equal(StatusCode.NotFound, update.StatusCode);
        var missing = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Jobs.GetJobAsync(new GetJobRequest { Name = "projects/default/jobs/x" }));
        Assert.Equal(StatusCode.NotFound, missing.StatusCode);
    }
}
