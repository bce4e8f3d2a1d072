using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Formats.Checkpoints;
using Platform.Worker.Engine.Training;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>Dividing optimizer state, gradients and weights over the data group changes memory and nothing else.</summary>
public sealed class ZeroTests
{
    private const int Steps = 12;

    [Theory]
    [InlineData(1, 1, 2, Precision.Float64)]
    [InlineData(2, 2, 2, Precision.Float32)]
    [InlineData(1, 1, 4, Precision.BFloat16)]
    public void Sharded_optimizer_state_trains_bit_for_bit_as_whole_state_does(int tensor, int pipeline, int data, Precision precision)
    {
        using var directory = new TemporaryDirectory();
        var (points, hashes) = Train(directory, Job(directory, tensor, pipeline, data, precision, 0));

        var (shardedPoints, shardedHashes) = Train(directory, Job(directory, tensor, pipeline, data, precision, 1));

        Assert.Equal(points.Select(Figures), shardedPoints.Select(Figures));
        Assert.Equal(hashes, shardedHashes);
    }

    /// <summary>Gradients of each micro-batch are summed over ranks first and over micro-batches then: other roundings, nothing else.</summary>
    [Theory]
    [InlineData(1, 1, 2, 2, false)]
    [InlineData(1, 2, 2, 2, true)]
    [InlineData(1, 1, 4, 3, false)]
    [InlineData(2, 2, 2, 3, false)]
    [InlineData(1, 2, 2, 3, true)]
    [InlineData(1, 1, 2, 3, true)]
    public void Sharded_gradients_and_weights_train_as_one_rank_does(int tensor, int pipeline, int data, int zero, bool tied)
    {
        using var directory = new TemporaryDirectory();
        var (alone, _) = Train(directory, Tied(Job(directory, 1, 1, 1, Precision.Float64, 0), tied));

        var (points, _) = Train(directory, Tied(Job(directory, tensor, pipeline, data, Precision.Float64, zero), tied));

        Assert.Equal(alone.Count, points.Count);
        Assert.All(alone.Zip(points), pair =>
        {
            Assert.InRange(Math.Abs(pair.First.Loss - pair.Second.Loss) / pair.First.Loss, 0, 1e-9);
            Assert.InRange(Math.Abs(pair.First.GradNorm - pair.Second.GradNorm) / pair.First.GradNorm, 0, 1e-8);
        });
    }

    /// <summary>With one micro-batch there is one order of summation, so even the bits agree.</summary>
    [Theory]
    [InlineData(2, Precision.BFloat16)]
    [InlineData(3, Precision.BFloat16)]
    [InlineData(3, Precision.Float32)]
    public void With_one_micro_batch_sharded_weights_train_bit_for_bit_as_whole_ones_do(int zero, Precision precision)
    {
        using var directory = new TemporaryDirectory();
        var (points, hashes) = Train(directory, Job(directory, 1, 2, 4, precision, 0));

        var (shardedPoints, shardedHashes) = Train(directory, Job(directory, 1, 2, 4, precision, zero));

        Assert.Equal(points.Select(Figures), shardedPoints.Select(Figures));
        Assert.Equal(hashes, shardedHashes);
    }

    [Theory]
    [InlineData(1, Precision.BFloat16)]
    [InlineData(3, Precision.Float32)]
    public void A_sharded_run_resumes_bit_for_bit_and_its_checkpoint_is_anyones(int zero, Precision precision)
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 2, 1, 2, precision, zero);
        var (through, hashes) = Train(directory, job);

        var artifacts = Path.Combine(directory.Path, "interrupted");
        RecordingHost? first = null;
        using (first = new RecordingHost { OnPoint = point => { if (point.Step == 5) first!.RequestStop(checkpoint: true); } })
            Gang.Run(job, artifacts, first);
        var saved = first.Checkpoints.Single();
        using var second = new RecordingHost();
        Gang.Run(job, artifacts, second, attempt: 2, resumeFrom: saved.Directory);

        Assert.Equal(hashes, Hashes(Path.Combine(artifacts, second.Checkpoints.Last().Directory)));
        Assert.Equal(through[^1].Loss, second.Points.Last().Loss);

        // One rank without sharding goes on from the same file, to the same loss but for rounding.
        using var third = new RecordingHost();
        Gang.Run(Job(directory, 1, 1, 1, precision, 0), artifacts, third, attempt: 3, resumeFrom: saved.Directory);
        Assert.InRange(Math.Abs(through[^1].Loss - third.Points.Last().Loss) / through[^1].Loss, 0, precision == Precision.BFloat16 ? 1e-2 : 1e-5);
    }

    private static (int Step, double Loss, double GradNorm, double? EvalLoss) Figures(StepMetrics point) =>
        (point.Step, point.Loss, point.GradNorm, point.EvalLoss);

    private static TrainingJobSpec Job(TemporaryDirectory directory, int tensor, int pipeline, int data, Precision precision, int zero)
    {
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), tensor, pipeline, data, precision, Steps);
        return job with { Parallelism = job.Parallelism with { ZeroStage = zero } };
    }

    private static TrainingJobSpec Tied(TrainingJobSpec job, bool tied) => job with { Model = job.Model with { TieWordEmbeddings = tied } };

    private static (List<StepMetrics> Points, SortedDictionary<string, string> Hashes) Train(TemporaryDirectory directory, TrainingJobSpec job)
    {
        using var host = new RecordingHost();
        var artifacts = Path.Combine(directory.Path, $"{job.Parallelism.WorldSize}-{job.Parallelism.ZeroStage}");
        Assert.All(Gang.Run(job, artifacts, host), outcome => Assert.Equal(TrainingOutcome.Finished, outcome));
        return ([.. host.Points], Hashes(Path.Combine(artifacts, host.Checkpoints.Last().Directory)));
    }

    private static SortedDictionary<string, string> Hashes(string checkpoint)
    {
        using var reader = CheckpointReader.Open(checkpoint, CheckpointVerification.Hashes);
        return new(reader.Manifest.Tensors.Keys.ToDictionary(name => name, reader.Sha256), StringComparer.Ordinal);
    }
}
