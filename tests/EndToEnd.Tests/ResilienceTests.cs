using System.Diagnostics;
using System.Globalization;
using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // Every test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>
/// Two nodes of two devices that notice a hang sooner than by default, but not so soon that ranks which wait for a processor count
/// as hung.
/// </summary>
public sealed class SmallPlatform : IAsyncLifetime
{
    private StandaloneServer? running;

    public TemporaryDirectory Directory { get; } = new();

    internal StandaloneServer Server => running ?? throw new InvalidOperationException("The server is not up.");

    public async ValueTask InitializeAsync() => running = await StandaloneServer.StartAsync(
        Directory.Sub("data"), CancellationToken.None, "--nodes", "2", "--devices-per-node", "2", "--", "--Agent:HangSeconds=20");

    public async ValueTask DisposeAsync()
    {
        if (running is not null)
            await running.DisposeAsync();
        Directory.Dispose();
    }
}

/// <summary>A rank that stands still, a damaged checkpoint, and a node that goes.</summary>
public sealed class ResilienceTests(SmallPlatform platform) : IClassFixture<SmallPlatform>
{
    private readonly TemporaryDirectory directory = platform.Directory;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private StandaloneServer Server => platform.Server;

    [Fact(Timeout = 300_000)]
    public async Task A_stopped_rank_is_named_with_its_group_and_collective_and_those_that_waited_for_it()
    {
        string name = await SubmitAsync("stuck", 2, 1, 2, steps: 100_000, extra: "retries: { max_restarts: 0 }");
        var job = await Server.WatchAsync(name, job => job.Progress.Step >= 3 && job.Ranks.Count == 4 && job.Ranks.All(rank => rank.ProcessId != 0), Cancellation);
        var victim = job.Ranks.Single(rank => rank.Rank == 3);
        Assert.NotEqual(job.Ranks.Single(rank => rank.Rank == 0).Node, victim.Node);

        Signal("STOP", victim.ProcessId);
        var failed = await Server.WatchAsync(name, job => job.State == JobState.Failed, Cancellation);

        Assert.Equal(("RANK_HUNG", 3, victim.Node), (failed.Failure.Reason, failed.Failure.Rank, failed.Failure.Node));
        string message = failed.Failure.Message;
        TestContext.Current.TestOutputHelper?.WriteLine(message);
        Assert.Matches($"^Rank 3 on {victim.Node} has not (entered|finished|come to) [a-z-]+ #[0-9]+ .*of (world|(tensor|data|pipeline) group [0-9]+); it has not reported for [0-9]+ s", message);
        Assert.Matches("(R|r)anks? [0-9, ]+ waited in [a-z-]+ #[0-9]+ .*of (world|(tensor|data|pipeline) group [0-9]+)( for ranks? [0-9, ]+)? for [0-9]+ s\\.", message);
        Assert.False(Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{victim.ProcessId}")), "The stopped process is left.");
        var shown = await Server.CliAsync(Cancellation, "jobs", "get", name);
        Assert.Contains("RANK_HUNG", shown.Output, StringComparison.Ordinal);
    }

    [Fact(Timeout = 300_000)]
    public async Task A_damaged_checkpoint_sends_the_job_back_to_the_one_before()
    {
        string name = await SubmitAsync("damaged", 1, 1, 2, steps: 150, checkpointEvery: 10);
        await Server.WatchAsync(name, job => job.CheckpointStep >= 20, Cancellation);
        await Server.Jobs.PauseJobAsync(new PauseJobRequest { Name = name }, cancellationToken: Cancellation);
        var paused = await Server.WatchAsync(name, job => job.State == JobState.Paused, Cancellation);
        Assert.InRange(paused.Checkpoint.PauseSeconds, 1e-9, paused.Checkpoint.WriteSeconds);
        Assert.True(paused.Checkpoint.SizeBytes > 0);
        string[] saved = Checkpoints(name);
        Assert.Equal(2, saved.Length);
        Assert.EndsWith(paused.CheckpointStep.ToString("D8", CultureInfo.InvariantCulture), saved[^1], StringComparison.Ordinal);
        string shard = Directory.GetFiles(saved[^1], "*.safetensors")[0];
        await using (var file = File.OpenWrite(shard))
        {
            // One byte of a tensor, which only its hash tells.
            file.Seek(-5, SeekOrigin.End);
            file.WriteByte(0x5a);
        }

        await Server.Jobs.ResumeJobAsync(new ResumeJobRequest { Name = name }, cancellationToken: Cancellation);
        var finished = await Server.WatchAsync(name, job => job.State is JobState.Succeeded or JobState.Failed, Cancellation);

        Assert.True(finished.State == JobState.Succeeded, finished.ToString());
        var failure = Assert.Single(finished.PastFailures);
        Assert.Equal("CHECKPOINT_CORRUPT", failure.Reason);
        Assert.Contains(Path.GetFileName(shard), failure.Message, StringComparison.Ordinal);
        Assert.Contains("The job goes back to step", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(saved[^1], Checkpoints(name));
    }

    [Fact(Timeout = 300_000)]
    public async Task An_elastic_job_goes_on_narrower_when_a_node_is_taken_out_of_service()
    {
        string name = await SubmitAsync("elastic", 2, 1, 2, steps: 150, checkpointEvery: 10, extra: "resources: { elastic: { min_data: 1 } }");
        var wide = await Server.WatchAsync(name, job => job.CheckpointStep >= 10 && job.State == JobState.Running, Cancellation);
        Assert.Equal(4, wide.Ranks.Count);

        string node = wide.Ranks.Single(rank => rank.Rank == 3).Node;
        Assert.Equal(0, (await Server.CliAsync(Cancellation, "nodes", "drain", node)).ExitCode);
        var narrow = await Server.WatchAsync(name, job => job.Attempt == 2 && job.State == JobState.Running, Cancellation);
        Assert.Equal(2, narrow.Ranks.Count);
        Assert.DoesNotContain(narrow.Ranks, rank => rank.Node == node);
        var finished = await Server.WatchAsync(name, job => job.State is JobState.Succeeded or JobState.Failed, Cancellation);

        Assert.True(finished.State == JobState.Succeeded, finished.ToString());
        var metrics = await Server.Jobs.GetMetricsAsync(new GetMetricsRequest { Name = name }, cancellationToken: Cancellation);
        Assert.Equal(Enumerable.Range(1, 150), metrics.Points.Select(point => point.Step));
        Assert.True(finished.Progress.Loss < finished.Progress.FirstLoss);
        Assert.Equal(0, (await Server.CliAsync(Cancellation, "nodes", "undrain", node)).ExitCode);
    }

    private async Task<string> SubmitAsync(string name, int tensor, int pipeline, int data, int steps, int checkpointEvery = 0, string extra = "")
    {
        string text = directory.Write("text.txt", SmallJobs.Text(seed: 6, sentences: 1000));
        string job = directory.Write($"{name}.yaml", SmallJobs.Yaml(name, text, tensor, pipeline, data, steps, checkpointEvery, extra: extra));
        var (code, output) = await Server.CliAsync(Cancellation, "train", job);
        Assert.True(code == 0, output);
        return output.TrimEnd().Split('\n')[^1].Trim();
    }

    /// <summary>Folders of the job's checkpoints, in the order of their steps.</summary>
    private string[] Checkpoints(string name) =>
    [
        .. Directory.GetFiles(Path.Combine(directory.File("data"), "artifacts", "jobs", name.Split('/')[^1]), "checkpoint.json", SearchOption.AllDirectories)
            .Select(file => Path.GetDirectoryName(file) ?? "").OrderBy(Path.GetFileName, StringComparer.Ordinal),
    ];

    private static void Signal(string signal, int process)
    {
        using var kill = Process.Start("kill", ["-s", signal, process.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }
}
