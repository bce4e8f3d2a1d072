using System.Collections.Concurrent;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Grpc.Core;
using Platform.Core.Gangs;
using Platform.Hosting.Network;
using Platform.Hosting.Ranks;
using Platform.Internal.V1;
using Platform.Testing;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

/// <summary>The agent as its ranks see it: the script is the process, the test speaks for it.</summary>
public sealed class RankLinkTests
{
    private const string Sleeper = "exec sleep 1000";
    private static readonly AgentLinkOptions Quick = new() { ReportInterval = TimeSpan.FromMilliseconds(20) };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Every_step_point_reaches_the_scheduler_over_the_bus()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        node.Job = "points";
        ConcurrentQueue<GangProgressReport> received = node.Progress;
        await node.RunAsync();
        await using AgentLink link = await AgentLink.ConnectAsync(await node.LaunchAsync(), Quick, Token);
        link.Progress("training", 0.5);
        for (int step = 1; step <= 1000; step++)
        {
            link.Point(new StepMetrics(step, 1.0 / step, 1, 100, 1e-3, 0.1, step % 100 == 0 ? 2.5 : null));
        }

        await link.FlushAsync(Token);

        // Batches travel beside each other, so the last point may come before others.
        await Waiting.UntilAsync(() => received.SelectMany(r => r.Points).Select(p => p.Step).Distinct().Count() == 1000, "all points");
        Assert.Equal(Enumerable.Range(1, 1000), received.SelectMany(r => r.Points).Select(p => p.Step).Distinct().Order());
        Assert.Contains(received, r => r is { Phase: "training", PhaseFraction: 0.5 });
        Assert.Equal(2.5, received.SelectMany(r => r.Points).First(p => p.Step == 100).EvalLoss);
        using var http = new HttpClient();
        string metrics = await http.GetStringAsync($"{node.App.Address(AgentApplication.MetricsListener)}/metrics", Token);
        Assert.Contains("platform_training_step{job=\"points\"} 1000", metrics, StringComparison.Ordinal);
        Assert.Contains("platform_training_step_seconds_count{job=\"points\"} 1000", metrics, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Stop_reaches_a_rank_that_listens_as_a_command_and_not_as_a_signal()
    {
        await using TestNode node = await TestNode.StartAsync("trap 'exit 9' TERM; while [ ! -e \"$3.done\" ]; do sleep 0.02; done; exit 75");
        await node.RunAsync();
        RankLaunch launch = await node.LaunchAsync();
        await using AgentLink link = await AgentLink.ConnectAsync(launch, Quick, Token);
        await Waiting.UntilAsync(() => link.StopRequested.CanBeCanceled, "linked");
        await node.WantAsync(node.Assignment(GangPhase.Stop, grace: 20) with { StopReason = "preempted" });
        await Waiting.UntilAsync(() => link.Stop is not null, "stop");
        Assert.True(link.StopRequested.IsCancellationRequested);
        File.WriteAllText(Path.Combine(node.DataDirectory, "launch", "jobs.j.1", "rank-0.json.done"), "");
        GangMemberReport released = await node.Scheduler.WaitForAsync(TestNode.Gang, MemberPhase.Released);
        Assert.Null(released.Failure);
    }

    [Fact]
    public async Task A_failure_that_a_rank_reports_is_the_members_failure()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        await node.RunAsync();
        await using AgentLink link = await AgentLink.ConnectAsync(await node.LaunchAsync(), Quick, Token);
        await link.FailAsync(FailureCode.Diverged, "The loss is NaN at step 7.", permanent: true, Token);
        GangMemberReport failed = await node.Scheduler.WaitForAsync(r => r.Failure is not null, "failure");
        Assert.Equal(
            (FailureCode.Diverged, "The loss is NaN at step 7.", true, (int?)0),
            (failed.Failure!.Code, failed.Failure.Message, failed.Failure.IsPermanent, failed.Failure.Rank));
        await Waiting.UntilAsync(() => link.StopRequested.IsCancellationRequested, "stop");
    }

    [Fact]
    public async Task Checkpoints_and_models_go_to_the_scheduler_until_it_answers()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        await node.RunAsync();
        await using AgentLink link = await AgentLink.ConnectAsync(await node.LaunchAsync(), Quick, Token);
        node.Scheduler.RefusedCommits = 2;
        CheckpointCommit committed = await link.CommitCheckpointAsync(
            new SavedCheckpoint(100, "jobs/j/1/00000100", "abc", new CheckpointCost(0.25, 1.5, 4096)), Token);
        Assert.Equal(["old"], committed.Expired);
        Assert.Equal(["kept"], committed.Kept);
        CommitCheckpointRequest commit = Assert.Single(node.Scheduler.Commits);
        Assert.Equal((0.25, 1.5, 4096L), (commit.Times.PauseSeconds, commit.Times.WriteSeconds, commit.Times.SizeBytes));
        Assert.Equal((TestNode.Gang, 1, 100, "abc"), (commit.Gang, commit.Attempt, commit.Step, commit.ManifestSha256));
        Assert.Equal("projects/default/models/m", await link.RegisterModelAsync("m", "jobs/j/1/model", 1.25, Token));
        Assert.Equal(1.25, Assert.Single(node.Scheduler.Models).FinalLoss);
    }

    [Fact]
    public async Task A_wrong_token_and_a_finished_attempt_are_refused()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        await node.RunAsync();
        RankLaunch launch = await node.LaunchAsync();
        await Assert.ThrowsAsync<StaleAttemptException>(() => AgentLink.ConnectAsync(launch with { Token = "guess" }, Quick, Token));
        await using AgentLink link = await AgentLink.ConnectAsync(launch, Quick, Token);
        await node.StopAsync("over", grace: 0);
        await Assert.ThrowsAsync<StaleAttemptException>(() => link.CommitCheckpointAsync(
            new SavedCheckpoint(1, "x", "y", new CheckpointCost(0, 0, 0)), Token));
        await Waiting.UntilAsync(() => link.StopRequested.IsCancellationRequested, "stop");
    }

    [Fact]
    public async Task A_process_learns_that_its_agent_is_gone()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        await node.RunAsync();
        var lost = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        AgentLinkOptions options = Quick with { LostAgentGrace = TimeSpan.FromMilliseconds(500), AgentLost = reason => lost.TrySetResult(reason) };
        await using AgentLink link = await AgentLink.ConnectAsync(await node.LaunchAsync(), options, Token);
        await node.App.StopAsync(Token);
        Assert.Contains("agent", await lost.Task.WaitAsync(TimeSpan.FromSeconds(20), Token), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_rank_that_has_not_entered_a_collective_is_named()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper, "--Agent:HangSeconds", "2");
        await node.RunAsync(ranks: 2);
        await using AgentLink first = await AgentLink.ConnectAsync(await node.LaunchAsync(0), Quick, Token);
        await using AgentLink second = await AgentLink.ConnectAsync(await node.LaunchAsync(1), Quick, Token);

        // Neither waits before both are there: an agent that knows one of them only would blame the other unheard.
        first.Collectives = () => [new CollectiveStatus("tensor 0", 12, "all-reduce #12", 5, [0, 1], [1])];
        second.Collectives = () => [new CollectiveStatus("tensor 0", 11, "all-reduce #11", 0, [0, 1], [])];
        GangMemberReport failed = await node.Scheduler.WaitForAsync(r => r.Failure is not null, "hang");
        Assert.Equal((FailureCode.RankHung, (int?)1), (failed.Failure!.Code, failed.Failure.Rank));
        Assert.Contains("has not entered all-reduce #12 of tensor 0", failed.Failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ranks_meet_at_the_rendezvous()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        await node.RunAsync(ranks: 3);
        Task<IReadOnlyList<RankPeer>>[] joins = [.. Enumerable.Range(0, 3).Select(async r =>
            await RendezvousClient.JoinAsync(await node.LaunchAsync(r), "127.0.0.1", 5000 + r, TimeSpan.FromSeconds(30), Token))];
        foreach (IReadOnlyList<RankPeer> peers in await Task.WhenAll(joins))
        {
            Assert.Equal(Enumerable.Range(0, 3).Select(r => new RankPeer(r, "127.0.0.1", 5000 + r, TestNode.Node)), peers);
        }
    }

    [Fact]
    public async Task The_rendezvous_names_missing_ranks_and_refuses_strangers()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        await node.RunAsync(ranks: 3);
        RankLaunch launch = await node.LaunchAsync(1);
        await Assert.ThrowsAsync<StaleAttemptException>(() =>
            RendezvousClient.JoinAsync(launch with { Token = "guess" }, "127.0.0.1", 1, TimeSpan.FromSeconds(30), Token));
        TimeoutException missing = await Assert.ThrowsAsync<TimeoutException>(() =>
            RendezvousClient.JoinAsync(launch, "127.0.0.1", 1, TimeSpan.FromSeconds(1.5), Token));
        Assert.Contains("Ranks 0, 2 of 3 did not join", missing.Message, StringComparison.Ordinal);
        // Only the rendezvous is served to other nodes; RankService stays on the Unix socket.
        var stranger = new RankService.RankServiceClient(GrpcChannels.Connect(launch.RendezvousAddress ?? ""));
        RpcException refused = await Assert.ThrowsAsync<RpcException>(async () => await stranger.HelloAsync(new HelloRequest(), cancellationToken: Token));
        Assert.Equal(StatusCode.Unimplemented, refused.StatusCode);
    }

    [Fact]
    public async Task Prometheus_discovers_the_metrics_of_ranks()
    {
        await using TestNode node = await TestNode.StartAsync(Sleeper);
        await node.RunAsync();
        await using AgentLink link = await AgentLink.ConnectAsync(await node.LaunchAsync(), Quick, Token);
        link.MetricsAt("http://127.0.0.1:9999/metrics");
        await link.FlushAsync(Token);
        using var http = new HttpClient();
        JsonArray? targets = await http.GetFromJsonAsync<JsonArray>(
            $"{node.App.Address(AgentApplication.MetricsListener)}/sd/targets", Token);
        Assert.Equal(
            """[{"targets":["127.0.0.1:9999"],"labels":{"__metrics_path__":"/metrics","node":"n0","gang":"jobs/j","rank":"0","workload":"training"}}]""",
            targets?.ToJsonString());
    }
}
