using Platform.Core.Jobs;
using Platform.Worker.Engine.Checkpoints;
using Platform.Formats.Checkpoints;
using Platform.Worker.Engine.Training;
using Xunit;

namespace Platform.Worker.Engine.Tests;

public sealed class ResumeTests
{
    [Theory]
    [InlineData(1, 1, 1, Precision.Float32)]
    [InlineData(2, 2, 2, Precision.Float32)]
    [InlineData(2, 1, 1, Precision.BFloat16)]
    public void Stopping_and_resuming_gives_the_bits_of_a_run_that_was_not_stopped(int tensor, int pipeline, int data, Precision precision)
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, tensor, pipeline, data, precision);
        using var through = new RecordingHost();
        Gang.Run(job, Artifacts(directory, "through"), through);

        var artifacts = Artifacts(directory, "interrupted");
        RecordingHost? first = null;
        using (first = new RecordingHost { OnPoint = point => { if (point.Step == 6) first!.RequestStop(checkpoint: true); } })
            Assert.All(Gang.Run(job, artifacts, first), outcome => Assert.Equal(TrainingOutcome.Stopped, outcome));
        var saved = Assert.Single(first.Checkpoints);
        using var second = new RecordingHost();
        Gang.Run(job, artifacts, second, attempt: 2, resumeFrom: saved.Directory);

        Assert.Equal(Enumerable.Range(saved.Step + 1, 12 - saved.Step), second.Points.Select(point => point.Step));
        Assert.Equal(
            Hashes(directory, "through", through.Checkpoints.Last().Directory), Hashes(directory, "interrupted", second.Checkpoints.Last().Directory));
        Assert.Equal(through.Points.Last().Loss, second.Points.Last().Loss);
    }

    [Fact]
    public void A_checkpoint_of_one_layout_is_read_unchanged_by_every_other()
    {
        using var directory = new TemporaryDirectory();
        var artifacts = Artifacts(directory, "artifacts");
        using var writer = new RecordingHost();
        Gang.Run(Job(directory, 2, 2, 2, Precision.Float32), artifacts, writer);
        var original = writer.Checkpoints.Last();
        var expected = Hashes(directory, "artifacts", original.Directory);
        Assert.Equal(3 * 48, expected.Count);

        var attempt = 1;
        var one = new ParallelismSpec { MicroBatchSize = 1 };
        ParallelismSpec[] layouts =
        [
            one, one with { Tensor = 4 }, one with { Pipeline = 5 }, one with { Tensor = 2, Data = 4 }, one with { Pipeline = 3, Data = 2 },
            one with { Tensor = 2, Pipeline = 2, Schedule = PipelineSchedule.Interleaved, VirtualStages = 2, SequenceParallel = true },
        ];
        foreach (var layout in layouts)
        {
            // Everything is trained: the attempt reads the checkpoint, exports, and registers the same model.
            using var reader = new RecordingHost();
            var job = Job(directory, 1, 1, 1, Precision.Float32) with { Parallelism = layout };
            Gang.Run(job, artifacts, reader, ++attempt, original.Directory);
            Assert.Empty(reader.Points);
            Assert.Equal(writer.Models.Single().Loss, reader.Models.Single().Loss);

            // One more step of a longer job from it writes it again in another layout's pieces.
            var longer = job with
            {
                Optimizer = new OptimizerSpec { Lr = 1e-30, MinLr = 1e-30, WeightDecay = 0, Schedule = LearningRateSchedule.Constant },
            };
            longer = longer with { Training = longer.Training with { Steps = 13 } };
            using var again = new RecordingHost();
            Gang.Run(longer, artifacts, again, ++attempt, original.Directory);
            var rewritten = Hashes(directory, "artifacts", again.Checkpoints.Last().Directory);
            Assert.Equal(
                expected.Where(pair => !pair.Key.StartsWith("optimizer.", StringComparison.Ordinal)),
                rewritten.Where(pair => !pair.Key.StartsWith("optimizer.", StringComparison.Ordinal)));
        }
    }

    [Fact]
    public void A_truncated_checkpoint_is_refused_by_name()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1, 1, 1, Precision.Float32);
        var artifacts = Artifacts(directory, "artifacts");
        using var host = new RecordingHost();
        Gang.Run(job, artifacts, host);
        var checkpoint = Path.Combine(artifacts, host.Checkpoints.Last().Directory);
        var shard = Directory.GetFiles(checkpoint, "*.safetensors").Single();
        using (var file = File.OpenWrite(shard))
            file.SetLength(file.Length / 2);

        var refused = Assert.Throws<CheckpointUnreadableException>(() => Gang.Run(job, artifacts, host, 2, host.Checkpoints.Last().Directory));

        Assert.Contains(Path.GetFileName(shard), refused.Message, StringComparison.Ordinal);
        Assert.Equal(Core.Gangs.FailureCode.CheckpointCorrupt, RankFailure.Of(refused).Code);
    }

    [Fact]
    public void Other_steps_another_rate_and_another_width_hold_from_the_step_after_the_checkpoint_and_a_run_past_its_end_is_done()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1, 1, 2, Precision.Float32);
        var artifacts = Artifacts(directory, "artifacts");
        RecordingHost? first = null;
        using (first = new RecordingHost { OnPoint = point => { if (point.Step == 6) first!.RequestStop(checkpoint: true); } })
            Gang.Run(job, artifacts, first);
        var saved = Assert.Single(first.Checkpoints);
        var changed = job with
        {
            Optimizer = job.Optimizer with { Lr = 10 * job.Optimizer.Lr },
            Parallelism = job.Parallelism with { Data = 1 },
            Training = job.Training with { Steps = 20 },
        };
        using var second = new RecordingHost();
        Gang.Run(changed, artifacts, second, attempt: 2, resumeFrom: saved.Directory);

        Assert.Equal(Enumerable.Range(saved.Step + 1, 20 - saved.Step), second.Points.Select(point => point.Step));
        Assert.All(second.Points, point => Assert.Equal(Planning.LearningRate.At(changed.Optimizer, 20, point.Step), point.LearningRate));

        using var third = new RecordingHost();
        var shorter = changed with { Training = changed.Training with { Steps = saved.Step - 1 } };
        Assert.All(Gang.Run(shorter, artifacts, third, attempt: 3, resumeFrom: saved.Directory), outcome => Assert.Equal(TrainingOutcome.Finished, outcome));
        Assert.Empty(third.Points);
        Assert.Single(third.Models);
    }

    [Fact]
    public void A_checkpoint_of_another_job_is_refused()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1, 1, 1, Precision.Float32);
        using var host = new RecordingHost();
        Gang.Run(job, Artifacts(directory, "artifacts"), host);
        var other = job with { Training = job.Training with { Seed = 12 } };

        var refused = Assert.Throws<CheckpointUnreadableException>(
            () => Gang.Run(other, Artifacts(directory, "artifacts"), host, 2, host.Checkpoints.Last().Directory));

        Assert.Contains("seed 11", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Checkpoints_are_written_when_due_and_deleted_when_told()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1, 2, 1, Precision.Float32) with { Checkpoint = new CheckpointSpec { EverySteps = 5 } };
        var artifacts = Artifacts(directory, "artifacts");
        using var host = new RecordingHost { OnCommit = step => new([.. step == 10 ? ["jobs/tiny/1/00000005", "../escape", "jobs/other/1/00000005"] : Array.Empty<string>()], []) };
        Directory.CreateDirectory(Path.Combine(directory.Path, "escape"));
        Directory.CreateDirectory(Path.Combine(artifacts, "jobs/other/1/00000005"));

        Gang.Run(job, artifacts, host);

        Assert.Equal([5, 10, 12], host.Checkpoints.Select(checkpoint => checkpoint.Step));
        Assert.All(host.Checkpoints.Skip(1), checkpoint =>
            Assert.Equal(checkpoint.Hash, CheckpointManifest.HashOf(Path.Combine(artifacts, checkpoint.Directory))));
        Assert.False(Directory.Exists(Path.Combine(artifacts, "jobs/tiny/1/00000005")));
        Assert.True(Directory.Exists(Path.Combine(directory.Path, "escape")));
        Assert.True(Directory.Exists(Path.Combine(artifacts, "jobs/other/1/00000005")));
    }

    private static string Artifacts(TemporaryDirectory directory, string name) => Path.Combine(directory.Path, name);

    private static TrainingJobSpec Job(TemporaryDirectory directory, int tensor, int pipeline, int data, Precision precision) =>
        Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), tensor, pipeline, data, precision, steps: 12);

    private static SortedDictionary<string, string> Hashes(TemporaryDirectory directory, string artifacts, string checkpoint)
    {
        using var reader = CheckpointReader.Open(Path.Combine(directory.Path, artifacts, checkpoint), CheckpointVerification.Hashes);
        return new(reader.Manifest.Tensors.Keys.ToDictionary(name => name, reader.Sha256), StringComparer.Ordinal);
    }
}
