using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Gangs;
using Platform.Testing;
using Platform.Worker.Agent.Adapters;
using Platform.Worker.Agent.Adapters.Processes;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

public sealed class OrphanTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task No_rank_outlives_an_agent_that_is_killed()
    {
        await using SchedulerPeer scheduler = await SchedulerPeer.StartAsync();
        // This agent's bus is its own, so everything goes with the renewals.
        scheduler.Lease = TimeSpan.FromSeconds(3);
        (TemporaryDirectory directory, string[] arguments) = TestNode.Prepare(scheduler, "exec sleep 1000");
        using TemporaryDirectory _ = directory;
        using Process agent = Process.Start(new ProcessStartInfo(Environment.ProcessPath ?? "", ["agent", .. arguments])
        {
            RedirectStandardOutput = true,
        }) ?? throw new InvalidOperationException("The agent did not start.");
        try
        {
            scheduler.Want(TestNode.Assignment(directory.Path, GangPhase.Prepare, ranks: 2));
            GangMemberReport prepared = await scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Prepared);
            scheduler.Want(TestNode.Assignment(directory.Path, GangPhase.Start, ranks: 2) with { RendezvousAddress = prepared.RendezvousAddress });
            GangMemberReport running = await scheduler.WaitForAsync(r => r.ProcessIds.Count == 2, "running");
            Assert.All(running.ProcessIds.Values, id => Assert.True(TestNode.IsAlive(id)));
            agent.Kill();
            await Waiting.UntilAsync(() => !running.ProcessIds.Values.Any(TestNode.IsAlive), "ranks died with their agent");
        }
        finally
        {
            agent.Kill();
            await agent.WaitForExitAsync(Token);
        }
    }

    [Fact]
    public async Task Processes_that_a_former_run_left_are_killed_and_others_are_not()
    {
        using var directory = new TemporaryDirectory();
        var options = new AgentOptions { DataDirectory = directory.Path, SharedMemoryRoot = directory.Path };
        using AgentDirectory files = AgentDirectory.Open(options);
        var records = new ProcessRecords(files, NullLogger<ProcessRecords>.Instance);
        using Process leftover = Process.Start("setsid", ["sleep", "1000"]);
        using Process stranger = Process.Start("setsid", ["sleep", "1000"]);
        try
        {
            records.Add(leftover.Id);
            records.Add(stranger.Id);
            // The stranger's id belonged to a process that was started at another time.
            string file = Path.Combine(files.ProcessRecords, $"{stranger.Id}.json");
            string text = await File.ReadAllTextAsync(file, Token);
            await File.WriteAllTextAsync(file, text.Replace("\"StartTicks\":", "\"StartTicks\":1", StringComparison.Ordinal), Token);
            await records.KillLeftoversAsync(Token);
            Assert.False(TestNode.IsAlive(leftover.Id));
            Assert.True(TestNode.IsAlive(stranger.Id));
            Assert.Empty(Directory.GetFiles(files.ProcessRecords));
        }
        finally
        {
            leftover.Kill();
            stranger.Kill();
        }
    }

    [Fact]
    public void A_second_agent_on_the_same_directory_is_refused()
    {
        using var directory = new TemporaryDirectory();
        var options = new AgentOptions { DataDirectory = directory.Path };
        using AgentDirectory first = AgentDirectory.Open(options);
        Assert.Contains(
            "Another agent", Assert.Throws<Hosting.Errors.UnavailableException>(() => AgentDirectory.Open(options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_epoch_survives_a_restart()
    {
        using var directory = new TemporaryDirectory();
        var options = new AgentOptions { DataDirectory = directory.Path };
        using (AgentDirectory first = AgentDirectory.Open(options))
        {
            Assert.Equal(0, first.Epoch);
            first.PersistEpoch(41);
        }

        using AgentDirectory second = AgentDirectory.Open(options);
        Assert.Equal(41, second.Epoch);
    }
}
