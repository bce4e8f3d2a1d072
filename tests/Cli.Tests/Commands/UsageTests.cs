using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

/// <summary>Budgets and usage as people ask for them.</summary>
public sealed class UsageTests
{
    [Fact]
    public async Task Shows_usage_by_user_with_the_sum()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        QueryUsageRequest? asked = null;
        platform.Script.On<QueryUsageRequest, QueryUsageResponse>(request =>
        {
            asked = request;
            return new QueryUsageResponse
            {
                Rows =
                {
                    new DeviceUsage { Name = "users/ada", DeviceHours = 12.5, DeviceHoursByKind = { ["cuda"] = 12, ["cpu"] = 0.5 }, Cost = 37.5, Attempts = 3 },
                    new DeviceUsage { Name = "users/grace", DeviceHours = 1, DeviceHoursByKind = { ["cpu"] = 1 }, Attempts = 1 },
                },
                Total = new DeviceUsage { DeviceHours = 13.5, DeviceHoursByKind = { ["cuda"] = 12, ["cpu"] = 1.5 }, Cost = 37.5, Attempts = 4 },
            };
        });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("usage", "--by", "user", "--since", "2026-11-01", "--queue", "research");

        Assert.Equal(
            [
                "USER   DEVICE-HOURS  BY KIND           COST   ATTEMPTS",
                "ada    12.5          0.5 cpu, 12 cuda  37.50  3",
                "grace  1             1 cpu             -      1",
                "(all)  13.5          1.5 cpu, 12 cuda  37.50  4",
            ],
            run.OutputLines);
        Assert.Equal((UsageGrouping.User, "queues/research", new DateTime(2026, 11, 1, 0, 0, 0, DateTimeKind.Utc)), (asked!.GroupBy, asked.Queue, asked.StartTime.ToDateTime()));
    }

    [Fact]
    public async Task Sets_and_takes_away_a_budget()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var queue = new Queue { Name = "queues/research", Weight = 1 };
        platform.Script.On<ListQueuesRequest, ListQueuesResponse>(_ => new ListQueuesResponse { Queues = { queue } });
        platform.Script.On<UpdateQueueRequest, Queue>(request => queue = request.Queue);
        using var cli = new CommandLine(platform.Address);

        await cli.RunAsync("queues", "set", "research", "--budget-device-hours", "100", "--budget-money", "2.5", "--budget-period", "month");
        Assert.Equal((100.0, 2.5, BudgetPeriod.Month), (queue.Budget.DeviceHours, queue.Budget.Money, queue.Budget.Period));
        await cli.RunAsync("queues", "set", "research", "--budget-money", "none");
        Assert.Equal((true, false), (queue.Budget.HasDeviceHours, queue.Budget.HasMoney));
        var wrong = await cli.RunAsync("queues", "set", "research", "--budget-device-hours", "much");
        await cli.RunAsync("queues", "set", "research", "--budget-device-hours", "none");

        Assert.Contains("'much' is not understood", Assert.Single(wrong.ErrorLines), StringComparison.Ordinal);
        Assert.Null(queue.Budget);
    }
}
