using System.Collections.Concurrent;
using Platform.Core.Jobs;
using Xunit;

namespace Platform.Worker.Engine.Tests.Golden;

/// <summary>
/// A refactor keeps every loss bit for bit. The bits are those of one kind of machine; elsewhere the comparison in bits is
/// skipped, and said to be, while runs in double precision are still compared with a tolerance.
/// </summary>
public sealed class GoldenLossTests
{
    // Rounding in other orders moves the loss of these few steps in double precision by less than this, relatively.
    private const double AcrossMachines = 1e-10;

    private static readonly ConcurrentDictionary<string, IReadOnlyList<GoldenStep>> Trained = new();

    public static TheoryData<string> Runs => [.. Jobs.Keys];

    private static SortedDictionary<string, Func<TrainingJobSpec, TrainingJobSpec>> Jobs { get; } = new(StringComparer.Ordinal)
    {
        ["fp64 1x1x1"] = Layout(1, 1, 1, Precision.Float64),
        ["fp64 2x2x2"] = Layout(2, 2, 2, Precision.Float64),
        ["fp64 1x2x2 tied gpipe recomputed"] = Also(Layout(1, 2, 2, Precision.Float64), job => job with
        {
            Model = job.Model with { TieWordEmbeddings = true },
            Parallelism = job.Parallelism with { Schedule = PipelineSchedule.GPipe },
            Training = job.Training with { ActivationCheckpointing = "full" },
        }),
        ["fp32 1x1x1"] = Layout(1, 1, 1, Precision.Float32),
        ["fp32 4x1x1 selective"] = Also(
            Layout(4, 1, 1, Precision.Float32), job => job with { Training = job.Training with { ActivationCheckpointing = "selective" } }),
        ["fp32 2x2x2"] = Layout(2, 2, 2, Precision.Float32),
        ["bf16 1x1x1"] = Layout(1, 1, 1, Precision.BFloat16),
        ["bf16 2x2x1"] = Layout(2, 2, 1, Precision.BFloat16),
        ["bf16 1x1x4"] = Layout(1, 1, 4, Precision.BFloat16),
    };

    [Theory]
    [MemberData(nameof(Runs))]
    public void Losses_are_those_recorded_bit_for_bit(string run)
    {
        var steps = Train(run);
        if (GoldenFile.IsRecording)
        {
            GoldenFile.Record(run, steps);
            return;
        }

        var golden = GoldenFile.Read();
        Assert.SkipUnless(
            golden.Machine == GoldenMachine.Name,
            $"The recorded losses are those of {golden.Machine}; this is {GoldenMachine.Name}. RECORD_GOLDEN=1 records them here.");

        Assert.Equal(golden.Runs[run], steps);
    }

    [Fact]
    public void Losses_in_double_precision_are_those_recorded_on_any_machine()
    {
        var golden = GoldenFile.Read();
        foreach (var run in Jobs.Keys.Where(name => name.StartsWith("fp64", StringComparison.Ordinal)))
        {
            var difference = golden.Runs[run].Zip(Train(run)).Max(pair => Math.Max(
                Relative(pair.First.Loss, pair.Second.Loss), Relative(pair.First.GradNorm, pair.Second.GradNorm)));
            TestContext.Current.TestOutputHelper?.WriteLine($"{run}: {difference:e2}");
            Assert.True(difference <= AcrossMachines, $"{run} differs by {difference:e2} from what {golden.Machine} recorded.");
        }

        // What the tolerance has to bear: the same sums in another order.
        var (alone, spread) = (golden.Runs["fp64 1x1x1"], golden.Runs["fp64 2x2x2"]);
        Assert.InRange(
            alone.Zip(spread).Max(pair => Math.Max(
                Relative(pair.First.Loss, pair.Second.Loss), Relative(pair.First.GradNorm, pair.Second.GradNorm))), 1e-17, AcrossMachines);
    }

    private static double Relative(double expected, double actual) => Math.Abs(expected - actual) / Math.Abs(expected);

    private static IReadOnlyList<GoldenStep> Train(string run) => Trained.GetOrAdd(run, TrainAnew);

    private static IReadOnlyList<GoldenStep> TrainAnew(string run)
    {
        using var directory = new TemporaryDirectory();
        using var host = new RecordingHost();
        var job = Jobs[run](Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), 1, 1, 1, Precision.Float32, steps: 8));
        Gang.Run(job, Path.Combine(directory.Path, "artifacts"), host);
        return [.. host.Points.Select(point => new GoldenStep(point.Loss, point.GradNorm, point.EvalLoss))];
    }

    private static Func<TrainingJobSpec, TrainingJobSpec> Layout(int tensor, int pipeline, int data, Precision precision) => job => job with
    {
        Parallelism = job.Parallelism with { Tensor = tensor, Pipeline = pipeline, Data = data },
        Training = job.Training with { Precision = precision },
    };

    private static Func<TrainingJobSpec, TrainingJobSpec> Also(
        Func<TrainingJobSpec, TrainingJobSpec> first, Func<TrainingJobSpec, TrainingJobSpec> then) => job => then(first(job));
}
