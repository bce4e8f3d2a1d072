using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Worker.Engine.Planning;
using Platform.Worker.Engine.Training;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>A job that changes its data-parallel width at a checkpoint sees the same samples and learns the same.</summary>
public sealed class ElasticTests
{
    private const int Steps = 12;

    [Theory]
    [InlineData(Precision.Float32, 1e-5)]
    [InlineData(Precision.Float64, 1e-9)]
    public void Going_on_at_other_widths_gives_the_losses_of_a_run_at_one_width(Precision precision, double tolerance)
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, precision);
        var through = Train(job, Path.Combine(directory.Path, "through"), ranks: [2]);

        // Width 2, then 1, then 4; each attempt is asked to stop with a checkpoint.
        var changed = Train(job, Path.Combine(directory.Path, "changed"), ranks: [2, 1, 4]);

        Assert.Equal(Enumerable.Range(1, Steps), changed.Select(point => point.Step));
        Assert.Equal(through.Select(point => point.LearningRate), changed.Select(point => point.LearningRate));
        var difference = through.Zip(changed).Max(pair => Math.Abs(pair.First.Loss - pair.Second.Loss) / pair.First.Loss);
        TestContext.Current.TestOutputHelper?.WriteLine($"{precision}: {difference:e2}");
        Assert.True(difference <= tolerance, $"The losses differ by {difference:e2}.");
        Assert.InRange(Math.Abs(through[^1].EvalLoss!.Value - changed[^1].EvalLoss!.Value), 0, 10 * tolerance);
    }

    [Fact]
    public void Going_on_at_the_same_width_is_the_same_bit_for_bit()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, Precision.Float32);

        Assert.Equal(
            Train(job, Path.Combine(directory.Path, "through"), ranks: [2]).Select(point => (point.Step, point.Loss, point.GradNorm, point.EvalLoss)),
            Train(job, Path.Combine(directory.Path, "stopped"), ranks: [2, 2, 2]).Select(point => (point.Step, point.Loss, point.GradNorm, point.EvalLoss)));
    }

    [Theory]
    [InlineData(3)]
    [InlineData(8)]
    public void A_number_of_ranks_that_gives_no_width_of_the_job_is_refused(int ranks)
    {
        using var directory = new TemporaryDirectory();
        var refused = Assert.Throws<PlanRefusedException>(() => ElasticWidth.Of(Job(directory, Precision.Float32), ranks));

        Assert.Equal("resources.elastic", Assert.Single(refused.Violations).Field);
        Assert.Contains("4, 2, 1 are allowed", refused.Message, StringComparison.Ordinal);
    }

    private static TrainingJobSpec Job(TemporaryDirectory directory, Precision precision)
    {
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), 1, 1, 2, precision, Steps);
        return job with { Resources = job.Resources with { Elastic = new ElasticSpec(1, 4) } };
    }

    private static List<StepMetrics> Train(TrainingJobSpec job, string artifacts, int[] ranks)
    {
        var points = new List<StepMetrics>();
        string? resumeFrom = null;
        for (var attempt = 1; attempt <= ranks.Length; attempt++)
        {
            var last = attempt == ranks.Length ? Steps : attempt * Steps / ranks.Length;
            RecordingHost? host = null;
            using (host = new RecordingHost { OnPoint = point => { if (point.Step == last && last < Steps) host!.RequestStop(checkpoint: true); } })
                Gang.Run(job, artifacts, host, attempt, resumeFrom, ranks: ranks[attempt - 1]);
            points.AddRange(host.Points);
            resumeFrom = host.Checkpoints.Last().Directory;
        }

        return points;
    }
}
