using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Formats.Checkpoints;
using Platform.Torch.Parallel.Checkpoints;
using Platform.Worker.Engine.Planning;
using Xunit;

namespace Platform.Worker.Engine.Tests;

public sealed class OptimizerTests
{
    private const int Steps = 12;

    /// <summary>Every layout, with and without sharding, orthogonalises the same whole matrices and forms the same z-loss.</summary>
    [Fact]
    public void Muon_and_z_loss_train_on_every_layout_as_on_one_rank()
    {
        using var directory = new TemporaryDirectory();
        var alone = Train(directory, Job(directory, 1, 1, 1, Precision.Float64, 0), out var saved);
        Assert.True(alone[^1].Loss < 0.8 * alone[0].Loss, $"The loss went from {alone[0].Loss} to {alone[^1].Loss} only.");
        Assert.Contains(saved.Keys, name => name.StartsWith(ParameterCheckpoint.MomentumPrefix, StringComparison.Ordinal));
        Assert.DoesNotContain(ParameterCheckpoint.SecondMomentPrefix + "model.layers.0.mlp.up_proj.weight", saved.Keys);
        Assert.Contains(ParameterCheckpoint.SecondMomentPrefix + "model.embed_tokens.weight", saved.Keys);

        foreach (var (tensor, pipeline, data, zero) in new[] { (2, 1, 1, 0), (1, 2, 2, 0), (1, 1, 2, 1), (2, 2, 2, 3) })
        {
            var points = Train(directory, Job(directory, tensor, pipeline, data, Precision.Float64, zero), out _);
            var difference = alone.Zip(points).Max(pair => Math.Abs(pair.First.Loss - pair.Second.Loss) / pair.First.Loss);
            TestContext.Current.TestOutputHelper?.WriteLine($"{tensor}x{pipeline}x{data} stage {zero}: {difference:e2}");
            Assert.InRange(difference, 0, 1e-9);
        }
    }

    [Fact]
    public void Muon_resumes_bit_for_bit_and_sharding_changes_no_bit()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 2, 1, 2, Precision.BFloat16, 1);
        var through = Train(directory, job, out var hashes);
        Train(directory, Job(directory, 2, 1, 2, Precision.BFloat16, 0), out var whole);
        Assert.Equal(whole, hashes);

        var artifacts = Path.Combine(directory.Path, "interrupted");
        RecordingHost? first = null;
        using (first = new RecordingHost { OnPoint = point => { if (point.Step == 5) first!.RequestStop(checkpoint: true); } })
            Gang.Run(job, artifacts, first);
        using var second = new RecordingHost();
        Gang.Run(job, artifacts, second, attempt: 2, resumeFrom: first.Checkpoints.Single().Directory);

        Assert.Equal(through[^1].Loss, second.Points.Last().Loss);
        Assert.Equal(hashes, Hashes(Path.Combine(artifacts, second.Checkpoints.Last().Directory)));
    }

    [Fact]
    public void Z_loss_keeps_the_logits_smaller_and_is_not_reported()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1, 1, 1, Precision.Float64, 0);
        var with = Train(directory, job, out _);
        var without = Train(directory, job with { Training = job.Training with { ZLossCoefficient = 0 } }, out _);

        // The first loss is that of the same weights; the gradients differ from the start.
        Assert.Equal(without[0].Loss, with[0].Loss);
        Assert.NotEqual(without[0].GradNorm, with[0].GradNorm);
    }

    /// <summary>Each schedule, at every step of a run, is its formula.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    public void Schedules_are_their_formulas(int warmup)
    {
        const int steps = 50;
        const double peak = 0.3, least = 0.02;
        foreach (var schedule in Enum.GetValues<LearningRateSchedule>())
        {
            var spec = new OptimizerSpec { Lr = peak, MinLr = least, WarmupSteps = warmup, Schedule = schedule };
            for (var step = 1; step <= steps; step++)
            {
                var done = (step - warmup) / (double)(steps - warmup);
                var expected = step <= warmup ? peak * step / warmup : schedule switch
                {
                    LearningRateSchedule.Cosine => least + ((peak - least) * (1 + Math.Cos(Math.PI * done)) / 2),
                    LearningRateSchedule.Linear => peak + ((least - peak) * done),
                    LearningRateSchedule.WarmupStableDecay => step <= 40 ? peak : peak + ((least - peak) * (step - 40) / 10.0),
                    _ => peak,
                };
                Assert.Equal(expected, LearningRate.At(spec, steps, step), 14);
            }
        }
    }

    private static TrainingJobSpec Job(TemporaryDirectory directory, int tensor, int pipeline, int data, Precision precision, int zero)
    {
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), tensor, pipeline, data, precision, Steps);
        return job with
        {
            Parallelism = job.Parallelism with { ZeroStage = zero },
            Optimizer = job.Optimizer with { Name = "muon", Muon = new MuonSpec(), Lr = 2e-2 },
            Training = job.Training with { ZLossCoefficient = 1e-3 },
        };
    }

    private static List<StepMetrics> Train(TemporaryDirectory directory, TrainingJobSpec job, out SortedDictionary<string, string> hashes)
    {
        using var host = new RecordingHost();
        var artifacts = Path.Combine(
            directory.Path, $"{job.Parallelism.Tensor}-{job.Parallelism.WorldSize}-{job.Parallelism.ZeroStage}-{job.Training.ZLossCoefficient}-{job.Training.Precision}");
        Gang.Run(job, artifacts, host);
        hashes = Hashes(Path.Combine(artifacts, host.Checkpoints.Last().Directory));
        return [.. host.Points];
    }

    private static SortedDictionary<string, string> Hashes(string checkpoint)
    {
        using var reader = CheckpointReader.Open(checkpoint, CheckpointVerification.Hashes);
        return new(reader.Manifest.Tensors.Keys.ToDictionary(name => name, reader.Sha256), StringComparer.Ordinal);
    }
}
