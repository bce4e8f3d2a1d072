using System.Collections.Concurrent;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Formats.Checkpoints;
using Platform.Worker.Engine.Checkpoints;
using Platform.Worker.Engine.Training;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>Checkpoints that are written while training goes on.</summary>
public sealed class AsyncCheckpointTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    [Fact]
    public void Every_tensor_is_the_one_that_a_checkpoint_written_at_once_holds()
    {
        using var directory = new TemporaryDirectory();
        var hashes = new[] { true, false }.Select(isAsync =>
        {
            using var host = new RecordingHost();
            Gang.Run(Job(directory, 2, 2, 2, isAsync), Artifacts(directory, $"{isAsync}"), host);
            Assert.Equal([4, 8, 12], host.Checkpoints.Select(checkpoint => checkpoint.Step));
            return host.Checkpoints.Select(checkpoint => Hashes(Path.Combine(directory.Path, $"{isAsync}", checkpoint.Directory))).ToList();
        }).ToList();

        Assert.Equal(3, hashes[0].Count);
        Assert.Equal(hashes[1], hashes[0]);
        Assert.NotEqual(hashes[0][0], hashes[0][1]);
    }

    [Fact]
    public void Steps_go_on_while_a_checkpoint_is_written_and_the_pause_is_reported()
    {
        using var directory = new TemporaryDirectory();
        using var stepped = new ManualResetEventSlim();
        using var host = new RecordingHost
        {
            // The commit of step 4 does not end before three more steps are taken.
            OnCommit = step =>
            {
                if (step == 4)
                    Assert.True(stepped.Wait(Patience), "No step was taken while the checkpoint of step 4 was being committed.");
                return new CheckpointCommit([], []);
            },
            OnPoint = point => { if (point.Step == 7) stepped.Set(); },
        };

        Gang.Run(Job(directory, 1, 1, 2, isAsync: true), Artifacts(directory, "artifacts"), host);

        Assert.Equal([4, 8, 12], host.Checkpoints.Select(checkpoint => checkpoint.Step));
        Assert.All(host.Saved, saved =>
        {
            Assert.InRange(saved.Cost.PauseSeconds, 1e-9, saved.Cost.WriteSeconds);
            Assert.True(saved.Cost.SizeBytes > 3 * 4 * 10_000);
        });
    }

    [Fact]
    public void A_checkpoint_that_is_due_while_one_is_being_written_waits_for_it()
    {
        using var directory = new TemporaryDirectory();
        using var second = new ManualResetEventSlim();
        var order = new ConcurrentQueue<string>();
        var saving = 0;
        using var host = new RecordingHost
        {
            OnCommit = step =>
            {
                order.Enqueue($"commit {step}");
                if (step == 4)
                    Assert.True(second.Wait(Patience), "The checkpoint of step 8 was never begun.");
                order.Enqueue($"committed {step}");
                return new CheckpointCommit([], []);
            },
            OnProgress = phase =>
            {
                if (phase == "saving" && Interlocked.Increment(ref saving) == 2)
                    second.Set();
            },
        };

        Gang.Run(Job(directory, 1, 1, 1, isAsync: true), Artifacts(directory, "artifacts"), host);

        Assert.Equal(["commit 4", "committed 4", "commit 8", "committed 8", "commit 12", "committed 12"], order);
    }

    [Fact]
    public void Asked_to_stop_it_finishes_the_checkpoint_that_is_being_written()
    {
        using var directory = new TemporaryDirectory();
        using var asked = new ManualResetEventSlim();
        RecordingHost? host = null;
        using (host = new RecordingHost
        {
            OnCommit = _ =>
            {
                Assert.True(asked.Wait(Patience));
                return new CheckpointCommit([], []);
            },
            OnPoint = point =>
            {
                if (point.Step != 5)
                    return;
                host!.RequestStop(checkpoint: false);
                asked.Set();
            },
        })
            Assert.All(
                Gang.Run(Job(directory, 1, 2, 1, isAsync: true), Artifacts(directory, "artifacts"), host),
                outcome => Assert.Equal(TrainingOutcome.Stopped, outcome));

        Assert.Equal([4], host.Checkpoints.Select(checkpoint => checkpoint.Step));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_shard_that_cannot_be_written_fails_the_attempt_with_a_reason_and_leaves_the_checkpoint_before(bool isAsync)
    {
        using var directory = new TemporaryDirectory();
        var artifacts = Artifacts(directory, "artifacts");

        // A directory where the second checkpoint's file of rank 1 has to go.
        Directory.CreateDirectory(Path.Combine(artifacts, "jobs/tiny/1/00000008", CheckpointShardWriter.FileNameOf(1), "in the way"));
        using var host = new RecordingHost();
        var failed = Assert.Throws<CheckpointWriteException>(() => Gang.Run(Job(directory, 2, 1, 1, isAsync), artifacts, host));

        Assert.Contains("The checkpoint of step 8 could not be written", failed.Message, StringComparison.Ordinal);
        Assert.Equal((FailureCode.WorkloadError, false), (RankFailure.Of(failed).Code, RankFailure.Of(failed).IsPermanent));
        var before = Assert.Single(host.Checkpoints);
        Assert.Equal(4, before.Step);
        Assert.NotEmpty(Hashes(Path.Combine(artifacts, before.Directory)));
    }

    [Fact]
    public void What_never_became_a_checkpoint_is_deleted_and_what_exists_is_not()
    {
        using var directory = new TemporaryDirectory();
        var artifacts = Artifacts(directory, "artifacts");
        string[] half = ["jobs/tiny/1/00000007", "jobs/tiny/2/00000003", "jobs/tiny/2/00000008"];
        string[] others = ["jobs/tiny/1/00000004", "jobs/tiny/3/00000001", "jobs/tiny/1/logs", "jobs/tiny/1/model", "jobs/tinier/1/00000002", "jobs/tiny/notes/00000001"];
        foreach (var folder in half.Concat(others))
        {
            Directory.CreateDirectory(Path.Combine(artifacts, folder));
            File.WriteAllText(Path.Combine(artifacts, folder, "rank-00000.safetensors.0123.tmp"), "half");
        }

        var committed = new ConcurrentQueue<string>();
        using var host = new RecordingHost
        {
            OnCommit = step =>
            {
                committed.Enqueue($"jobs/tiny/2/{step:D8}");
                return new CheckpointCommit([], ["jobs/tiny/1/00000004", .. committed]);
            },
        };
        Gang.Run(Job(directory, 1, 1, 1, isAsync: true), artifacts, host, attempt: 2);

        Assert.All(others, folder => Assert.True(Directory.Exists(Path.Combine(artifacts, folder)), folder));
        Assert.All(committed, folder => Assert.True(Directory.Exists(Path.Combine(artifacts, folder)), folder));
        Assert.False(Directory.Exists(Path.Combine(artifacts, half[0])));
        Assert.False(Directory.Exists(Path.Combine(artifacts, half[1])));
        Assert.Single(Directory.GetFiles(Path.Combine(artifacts, half[2]), "*.safetensors"));
    }

    private static string Artifacts(TemporaryDirectory directory, string name) => Path.Combine(directory.Path, name);

    private static TrainingJobSpec Job(TemporaryDirectory directory, int tensor, int pipeline, int data, bool isAsync) =>
        Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), tensor, pipeline, data, Precision.Float32, steps: 12) with
        {
            Checkpoint = new CheckpointSpec { EverySteps = 4, Async = isAsync },
        };

    private static SortedDictionary<string, string> Hashes(string checkpoint)
    {
        using var reader = CheckpointReader.Open(checkpoint, CheckpointVerification.Hashes);
        return new(reader.Manifest.Tensors.Keys.ToDictionary(name => name, reader.Sha256), StringComparer.Ordinal);
    }
}
