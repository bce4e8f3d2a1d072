using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>Nothing waits without a reason.</summary>
public sealed class PendingReasonTests
{
    [Fact]
    public async Task Every_job_that_cannot_start_says_why_in_the_answer_to_its_submission()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/small", NominalQuota = { ["cpu"] = 1 } } });
        await cluster.Nodes.UpdateQueueAsync(new UpdateQueueRequest { Queue = new Queue { Name = "queues/spent", Budget = new Budget { DeviceHours = 0 } } });
        var running = await SubmitAsync(cluster, "default", 4);
        await cluster.WaitForAsync(running.Name, JobState.Running);

        var waiting = await Task.WhenAll(Enumerable.Range(0, 30).Select(n => SubmitAsync(cluster, (n % 3) switch { 0 => "default", 1 => "small", _ => "spent" }, 2)));

        string[] expected = ["too few", "queue small uses 0 of its own 1", "Queue spent has used 0 of its budget of 0 device-hours"];
        for (int n = 0; n < waiting.Length; n++)
        {
            Assert.Equal(JobState.Queued, waiting[n].State);
            Assert.Contains(expected[n % 3], waiting[n].StateReason, StringComparison.Ordinal);
            var why = await cluster.Jobs.ExplainJobAsync(new ExplainJobRequest { Name = waiting[n].Name });
            Assert.Equal(n % 3 == 0 ? "CAPACITY" : n % 3 == 1 ? "QUOTA" : "BUDGET", why.Reasons[0].Reason);
            Assert.NotEmpty(why.Counterfactuals);
        }
    }

    private static async Task<Job> SubmitAsync(TestCluster cluster, string queue, int data)
    {
        var spec = cluster.Spec("lm", $$"""{"data":{{data}}}""");
        spec.Queue = queue;
        return await cluster.CreateAsync(spec);
    }
}
