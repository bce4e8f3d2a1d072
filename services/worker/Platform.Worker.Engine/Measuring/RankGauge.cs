using System.Diagnostics;
using Platform.Core;
using Platform.Core.Gangs;
using Platform.Core.Models;
using Platform.Torch;
using Platform.Torch.Collectives;
using Platform.Torch.Parallel;
using Platform.Torch.Timelines;
using Platform.Worker.Engine.Planning;
using ScalarType = TorchSharp.torch.ScalarType;

namespace Platform.Worker.Engine.Measuring;

/// <summary>
/// What one rank measures about its run, and what all ranks know of it together. Means are over the steps but the first,
/// which also builds what later ones reuse. Used on the model thread.
/// </summary>
internal sealed class RankGauge : IDisposable
{
    private const int KeptSteps = 8;
    private const int FiguresPerRank = 3;
    private const int CloselySampledSteps = 3;
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(25);
    private static readonly TimeSpan PeakBudget = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan TraceInterval = TimeSpan.FromSeconds(10);

    private readonly LiveTensorMemory? _memory;
    private readonly double[] _parts = new double[StepParts.Count];
    private double _seconds;
    private long _sentBefore;
    private int _steps;
    private long _traced = Stopwatch.GetTimestamp();

    /// <summary>A gauge of the calling thread; memory counts from now.</summary>
    /// <param name="ownsProcess">The rank is alone in its process, so that the process's memory is its own.</param>
    public RankGauge(bool ownsProcess)
    {
        Recorder = new StepRecorder(KeptSteps);
        if (ownsProcess)
        {
            // What the kernels set up once is no tensor.
            MatrixProductRate.Measure(ScalarType.Float32, TimeSpan.Zero, null);
            MatrixProductRate.Measure(ScalarType.BFloat16, TimeSpan.Zero, null);
            _memory = LiveTensorMemory.Start(SampleInterval);
        }

        if (_memory is { } memory)
            Recorder.AtEdges = () => memory.Sample();
    }

    /// <summary>Takes the rank's spans.</summary>
    public StepRecorder Recorder { get; }

    /// <summary>FLOP/s of a device, mean over ranks; 0 until it is measured.</summary>
    public double PeakFlops { get; private set; }

    /// <summary>FLOP/s of rank 0's device while the other ranks waited; 0 until it is measured.</summary>
    public double PeakFlopsAlone { get; private set; }

    /// <summary>
    /// Floating-point operations that a token costs the model: 6 per weight, and 6·layers·width·sequence for causal
    /// attention (Narayanan et al. 2021, appendix, halved because half of the positions are masked). Recomputation does not
    /// count, and neither does a skipped upper triangle.
    /// </summary>
    public static double FlopsPerToken(ModelConfig model, int sequenceLength) =>
        (6.0 * model.ParameterCount) + (6.0 * model.NumHiddenLayers * model.NumAttentionHeads * model.HeadDim * sequenceLength);

    /// <summary>Measures what one rank can do alone and what all can do at once; every rank calls this.</summary>
    /// <param name="plan">What is trained.</param>
    /// <param name="world">All ranks.</param>
    /// <param name="device">Where the rank computes; null for the CPU.</param>
    public void MeasurePeak(TrainingPlan plan, ICollectiveGroup world, TorchSharp.torch.Device? device)
    {
        var type = plan.Spec.Training.Precision.ToScalarType();
        world.Barrier();
        var alone = world is { Rank: 0, Size: > 1 } ? MatrixProductRate.Measure(type, PeakBudget, device) : 0;
        world.Barrier();
        Span<double> sums = [MatrixProductRate.Measure(type, PeakBudget, device), alone];
        world.AllReduceSum(sums);
        PeakFlops = sums[0] / world.Size;
        PeakFlopsAlone = Math.Max(PeakFlops, sums[1]);
        Span<double> discarded = stackalloc double[StepParts.Count];
        Recorder.TakePeriod(discarded);
    }

    /// <summary>Until its disposal what is allocated and kept is no tensor of training.</summary>
    public IDisposable? SetAside() => _memory?.SetAside();

    /// <summary>Adds a step.</summary>
    /// <returns>Its utilization.</returns>
    public double Add(TrainingPlan plan, double seconds, StepParts parts)
    {
        // Steps are alike: the first ones, looked at wherever something begins or ends, find the highest point.
        if (++_steps == CloselySampledSteps)
            Recorder.AtEdges = null;
        if (_steps == 1)
        {
            _sentBefore = Recorder.SentBytes;
        }
        else
        {
            _seconds += seconds;
            foreach (var (part, spent) in parts.All())
                _parts[(int)part] += spent;
        }

        return UtilizationOf(plan, seconds);
    }

    /// <summary>Whether all ranks exchange what they measured after a step.</summary>
    /// <param name="step">The step.</param>
    /// <param name="steps">Steps of the job.</param>
    public static bool IsDue(int step, int steps) => step == steps || step is 3 or 10 or 30 || step % 100 == 0;

    /// <summary>What all ranks measured; every rank calls this after the same step.</summary>
    public RunMeasurement Exchange(TrainingPlan plan, ICollectiveGroup world)
    {
        var counted = Math.Max(1, _steps - 1);
        var figures = new double[FiguresPerRank * world.Size];
        var mine = figures.AsSpan(FiguresPerRank * world.Rank, FiguresPerRank);
        mine[0] = _memory?.Highest ?? 0;
        mine[2] = (double)(Recorder.SentBytes - _sentBefore) / counted;
        using (var process = Process.GetCurrentProcess())
            mine[1] = process.PeakWorkingSet64;
        world.AllReduceSum(figures);
        long[] Column(int figure) => [.. Enumerable.Range(0, world.Size).Select(rank => (long)figures[(FiguresPerRank * rank) + figure])];
        var seconds = _steps > 1 ? _seconds / counted : 0;
        return new RunMeasurement
        {
            Steps = Math.Max(0, _steps - 1),
            StepSeconds = seconds,
            TokensPerSecond = seconds > 0 ? plan.TokensPerStep / seconds : 0,
            ModelFlopsUtilization = seconds > 0 ? UtilizationOf(plan, seconds) : 0,
            PeakFlops = PeakFlops,
            Precision = plan.Spec.Training.Precision,
            PeakFlopsAlone = PeakFlopsAlone,
            Parts = StepParts.Of(_parts, counted),
            CommunicationBytesPerStep = Column(2).Max(),
            LiveTensorBytes = Column(0),
            ResidentBytes = Column(1),
        };
    }

    /// <summary>Writes the timeline of the last steps, at most every few seconds unless it is the last time.</summary>
    public void WriteTimeline(RankLaunch launch, ParallelGroups groups, bool isLast)
    {
        if (!isLast && Stopwatch.GetElapsedTime(_traced) < TraceInterval)
            return;
        _traced = Stopwatch.GetTimestamp();
        TimelineFile.Write(
            Path.Combine(launch.ArtifactRoot, ArtifactLayout.Trace(launch.Gang, launch.Attempt, launch.Rank)),
            launch.Rank, groups.Coordinate, launch.Node, Recorder.Events());
    }

    /// <inheritdoc/>
    public void Dispose() => _memory?.Dispose();

    private double UtilizationOf(TrainingPlan plan, double seconds) =>
        PeakFlops > 0 ? plan.TokensPerStep * FlopsPerToken(plan.Model, plan.Spec.Data.SequenceLength) / (seconds * plan.Mesh.WorldSize * PeakFlops) : 0;
}
