using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Hosting.Ranks;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>The rank program against a real socket, rendezvous and shared memory.</summary>
public sealed class RankProgramTests
{
    [Theory]
    [InlineData(0, "adamw")]
    [InlineData(1, "adamw")]
    [InlineData(3, "muon")]
    public async Task Eight_ranks_meet_train_save_and_register_a_model(int zero, string optimizer)
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 2, 2, 2, steps: 4) with { Checkpoint = new CheckpointSpec { EverySteps = 2 } };
        job = job with
        {
            Parallelism = job.Parallelism with { Schedule = PipelineSchedule.Interleaved, VirtualStages = 2, SequenceParallel = true, ZeroStage = zero },
            Optimizer = job.Optimizer with { Name = optimizer, Muon = optimizer == "muon" ? new MuonSpec() : null },
        };
        await using var agent = await ScriptedAgent.StartAsync(directory.Path, 8, TestContext.Current.CancellationToken);

        var codes = await Task.WhenAll(Launches(directory, job, agent).Select(file => RankProgram.RunAsync(file, TestContext.Current.CancellationToken)));

        Assert.All(codes, code => Assert.Equal(RankExitCode.Success, code));
        Assert.Equal([1, 2, 3, 4], agent.Script.Points.Select(point => point.Step));
        Assert.Equal([2, 4], agent.Script.Commits.Select(commit => commit.Step));
        var model = Assert.Single(agent.Script.Models);
        Assert.Equal("tiny", model.ModelId);
        Assert.Equal(agent.Script.Points.Last().Loss, model.FinalLoss);
        Assert.True(File.Exists(Path.Combine(directory.Path, "artifacts", model.Directory, "config.json")));
        Assert.Contains(agent.Script.Reports, report => report.Collectives.Any(state => state.Group.StartsWith("tensor group", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_missing_data_path_is_reported_as_permanent_by_rank_0_alone()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1, 1, 2, steps: 2);
        job = job with { Data = job.Data with { Source = [Path.Combine(directory.Path, "nowhere.txt")] } };
        await using var agent = await ScriptedAgent.StartAsync(directory.Path, 2, TestContext.Current.CancellationToken);

        var codes = await Task.WhenAll(Launches(directory, job, agent).Select(file => RankProgram.RunAsync(file, TestContext.Current.CancellationToken)));

        Assert.All(codes, code => Assert.Equal(RankExitCode.Failed, code));
        var failures = agent.Script.Reports.Where(report => report.FailureReason.Length > 0).ToList();
        Assert.Equal(0, failures[0].Rank);
        Assert.Equal("INPUT_UNREADABLE", failures[0].FailureReason);
        Assert.True(failures[0].FailurePermanent);
        Assert.Contains("nowhere.txt", failures[0].FailureMessage, StringComparison.Ordinal);
        Assert.DoesNotContain(failures, report => report.Rank != 0 && report.FailureReason == "INPUT_UNREADABLE");
        Assert.False(Directory.Exists(Path.Combine(directory.Path, "artifacts", "datasets")));
    }

    [Fact]
    public async Task Asked_to_stop_with_a_checkpoint_it_saves_one_and_says_so_by_its_exit_code()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1, 1, 1, steps: 100_000) with { Checkpoint = new CheckpointSpec { EverySteps = 0 } };
        await using var agent = await ScriptedAgent.StartAsync(directory.Path, 1, TestContext.Current.CancellationToken);
        var run = RankProgram.RunAsync(Launches(directory, job, agent).Single(), TestContext.Current.CancellationToken);

        agent.Script.Stop(checkpoint: true);

        Assert.Equal(RankExitCode.Stopped, await run);
        Assert.Empty(agent.Script.Models);
        // Stopped before the first step there is nothing to save.
        Assert.True(agent.Script.Commits.Count <= 1);
        Assert.Equal(agent.Script.Points.Any() ? 1 : 0, agent.Script.Commits.Count);
    }

    private static TrainingJobSpec Job(TemporaryDirectory directory, int tensor, int pipeline, int data, int steps) =>
        Gang.Job(directory.Write("text.txt", Gang.SomeText(4000)), tensor, pipeline, data, Precision.Float32, steps);

    private static IEnumerable<string> Launches(TemporaryDirectory directory, TrainingJobSpec job, ScriptedAgent agent) =>
        Enumerable.Range(0, job.Parallelism.WorldSize).Select(rank => directory.Write($"rank-{rank}.json", GangJson.Write(
            Gang.Launch(job, Path.Combine(directory.Path, "artifacts"), rank) with
            {
                AgentSocket = agent.Socket,
                RendezvousAddress = agent.Rendezvous,
                AdvertisedHost = "127.0.0.1",
                SharedMemoryDirectory = Path.Combine(directory.Path, "shm"),
                Workload = JobSpecWriter.ToJson(job).ToJsonString(),
            }))).ToList();
}
