using Platform.Core.Gangs;
using Platform.Hosting.Configuration;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

public sealed class BusTests
{
    [Fact]
    public async Task Commands_and_reports_travel_over_the_bus_without_waiting_for_a_renewal()
    {
        await using TestNode node = await TestNode.StartAsync(TimeSpan.FromHours(1), "exec sleep 1000");
        GangAssignment prepare = node.Assignment(GangPhase.Prepare);
        await node.WantAsync(prepare);
        await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Prepared);
        GangAssignment start = node.Assignment(GangPhase.Start);
        await node.WantAsync(start);
        await node.WantAsync(start);
        await node.WantAsync(prepare);
        GangMemberReport running = await node.Scheduler.WaitForAsync(r => r.ProcessIds.Count > 0, "running");
        // The lease is long: the first renewal was before all this, and the next one is still to come.
        Assert.Equal(1, node.Scheduler.Renewals);
        await node.WantAsync(node.Assignment(GangPhase.Stop, grace: 0.2));
        await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Released);
        Assert.False(TestNode.IsAlive(running.ProcessIds[0]));
        Assert.Equal(
            [MemberPhase.Prepared, MemberPhase.Running, MemberPhase.Released],
            node.Scheduler.Reports.Select(r => r.Phase).Distinct().Order());
    }

    [Fact]
    public void Every_wrong_option_is_named_at_once()
    {
        InvalidConfigurationException exception = Assert.Throws<InvalidConfigurationException>(() => AgentApplication.Build(
            ["--Agent:Node", "a b", "--Agent:Devices", "0", "--Artifacts:Root", "here", "--Bus:Transport", "pigeon"]));
        Assert.Equal(
            ["Agent:DataDirectory", "Agent:Devices", "Agent:Node", "Agent:WorkerCommand", "Artifacts:Root", "Bus:Transport"],
            exception.Violations.Select(v => v.Field).Order(StringComparer.Ordinal));
    }
}
