using System.Diagnostics;
using Platform.Core.Gangs;
using Platform.Testing;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

public sealed class ProcessTests
{
    private const string Sleeper = "echo up; exec sleep 1000";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_rank_that_ends_with_an_error_is_reported_with_its_code_and_its_last_words()
    {
        await using TestNode node = await TestNode.StartAsync("echo one; echo 'out of luck' >&2; exit 3");
        await node.WantAsync(node.Assignment(GangPhase.Prepare));
        await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Prepared);
        await node.WantAsync(node.Assignment(GangPhase.Start));
        GangMemberReport released = await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Released);
        Assert.Equal((FailureCode.RankExited, (int?)0, TestNode.Node), (released.Failure!.Code, released.Failure.Rank, released.Failure.Node));
        Assert.Contains("exit code 3", released.Failure.Message, StringComparison.Ordinal);
        Assert.Equal(["one", "out of luck"], released.Failure.LogTail);
        Assert.Equal("one\nout of luck\n", await File.ReadAllTextAsync(node.Log(), Token));
    }

    [Fact]
    public async Task Ranks_that_all_end_well_make_the_member_succeed_and_stop_releases_it()
    {
        await using TestNode node = await TestNode.StartAsync("exit 0");
        await node.WantAsync(node.Assignment(GangPhase.Prepare, ranks: 2));
        await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Prepared);
        await node.WantAsync(node.Assignment(GangPhase.Start, ranks: 2));
        await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Succeeded);
        await node.StopAsync("done", ranks: 2);
        Assert.Empty(Directory.GetDirectories(node.Root, "platform-*"));
        Assert.Empty(Directory.GetDirectories(Path.Combine(node.DataDirectory, "launch")));
    }

    [Fact]
    public async Task A_killed_rank_fails_the_member_and_takes_the_other_ranks_with_it()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        GangMemberReport running = await node.RunAsync(ranks: 2);
        await Waiting.UntilAsync(() => File.Exists(node.Log(1)) && new FileInfo(node.Log(1)).Length > 0, "the rank has spoken");
        using (var victim = Process.GetProcessById(running.ProcessIds[1]))
        {
            victim.Kill();
        }

        GangMemberReport released = await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Released);
        Assert.Equal(1, released.Failure?.Rank);
        Assert.Contains("signal 9", released.Failure?.Message, StringComparison.Ordinal);
        Assert.Equal(["up"], released.Failure?.LogTail);
        Assert.DoesNotContain(running.ProcessIds.Values, TestNode.IsAlive);
    }

    [Fact]
    public async Task Stop_asks_first_and_kills_what_does_not_listen_with_all_its_children()
    {
        await using TestNode node = await TestNode.StartAsync(
            "trap 'echo asked' TERM; sleep 1000 & echo $! > \"$3.child\"; while true; do sleep 0.05; done");
        GangMemberReport running = await node.RunAsync(grace: 0.5);
        string childFile = Path.Combine(node.DataDirectory, "launch", "jobs.j.1", "rank-0.json.child");
        await Waiting.UntilAsync(() => File.Exists(childFile) && File.ReadAllText(childFile).EndsWith('\n'), "child");
        int child = int.Parse(await File.ReadAllTextAsync(childFile, Token), System.Globalization.CultureInfo.InvariantCulture);
        Assert.True(TestNode.IsAlive(child));
        await node.StopAsync("cancelled", grace: 0.5);
        Assert.Contains("asked", await File.ReadAllTextAsync(node.Log(), Token), StringComparison.Ordinal);
        await Waiting.UntilAsync(() => !TestNode.IsAlive(running.ProcessIds[0]) && !TestNode.IsAlive(child), "all dead");
    }

    [Fact]
    public async Task An_agent_whose_lease_runs_out_kills_its_ranks_by_itself()
    {
        await using TestNode node = await TestNode.StartAsync(TimeSpan.FromSeconds(3), Sleeper);
        GangMemberReport running = await node.RunAsync();
        node.Scheduler.IsGone = true;
        await Waiting.UntilAsync(() => !TestNode.IsAlive(running.ProcessIds[0]), "fenced");
        node.Scheduler.IsGone = false;
        GangMemberReport released = await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Released);
        Assert.Equal(FailureCode.NodeLost, released.Failure?.Code);
    }

    [Fact]
    public async Task An_agent_that_stops_leaves_no_process_and_says_so()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        GangMemberReport running = await node.RunAsync(ranks: 2);
        await node.App.StopAsync(Token);
        Assert.DoesNotContain(running.ProcessIds.Values, TestNode.IsAlive);
        Assert.Contains(node.Scheduler.Reports, r => r is { Phase: MemberPhase.Released, Failure.Code: FailureCode.NodeLost });
    }

    [Fact]
    public async Task A_restarted_agent_refuses_to_go_on_with_an_attempt_of_its_former_run()
    {
        await using TestNode node = await TestNode.StartAsync(TimeSpan.FromSeconds(3), Sleeper);
        await node.RunAsync();
        string first = node.Scheduler.LastIncarnation;
        await node.RestartAsync();
        GangMemberReport released = await node.Scheduler.WaitForAsync(
            r => r.Incarnation != first && r.Phase == MemberPhase.Released, "released by the second run");
        Assert.Contains("restarted", released.Failure?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Missing_data_is_refused_before_anything_is_started()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        File.Delete(Path.Combine(node.Root, "data.txt"));
        await node.WantAsync(node.Assignment(GangPhase.Prepare));
        GangMemberReport released = await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Released);
        Assert.Equal((FailureCode.InputUnreadable, true), (released.Failure!.Code, released.Failure.IsPermanent));
        Assert.Contains("data.txt", released.Failure.Message, StringComparison.Ordinal);
    }
}
