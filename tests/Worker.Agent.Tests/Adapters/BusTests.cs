using System.Collections.Concurrent;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Configuration;
using Platform.Testing;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

public sealed class BusTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Commands_and_reports_travel_over_the_bus_without_waiting_for_a_renewal()
    {
        await using TestNode node = await TestNode.StartAsync("exec sleep 1000");
        var phases = new ConcurrentQueue<GangMemberReport>();
        await using IAsyncDisposable receiver = await node.Bus.ReceiveAsync(
            "scheduler-reports",
            [MessageHandler.For<GangMemberChanged>((message, _) => { phases.Enqueue(message.Report); return Task.CompletedTask; })],
            Token);
        await Waiting.UntilAsync(() => node.Scheduler.LastIncarnation.Length > 0, "registered");
        GangAssignment prepare = node.Assignment(GangPhase.Prepare);
        // Wanted as well, or the next pull would end it.
        node.Scheduler.Want(prepare);
        await node.Bus.SendAsync($"node-{TestNode.Node}", new PrepareGang(prepare), Token);
        await Waiting.UntilAsync(() => phases.Any(p => p.Phase == MemberPhase.Prepared), "prepared");
        GangAssignment start = node.Assignment(GangPhase.Start);
        node.Scheduler.Want(start);
        await node.Bus.SendAsync($"node-{TestNode.Node}", new StartGang(start), Token);
        await node.Bus.SendAsync($"node-{TestNode.Node}", new StartGang(start), Token);
        await Waiting.UntilAsync(() => phases.Any(p => p.Phase == MemberPhase.Running), "running");
        Assert.True(phases.First(p => p.Phase == MemberPhase.Running).ProcessIds[0] > 0);
        GangAssignment stop = node.Assignment(GangPhase.Stop, grace: 0.2);
        node.Scheduler.Want(stop);
        await node.Bus.SendAsync($"node-{TestNode.Node}", new StopGang(stop), Token);
        await Waiting.UntilAsync(() => phases.Any(p => p.Phase == MemberPhase.Released), "released");
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
