using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Collectives;
using Platform.Torch.Cuda;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Timelines;
using Platform.Worker.Engine.Data;
using Platform.Worker.Engine.Planning;

namespace Platform.Worker.Engine.Training;

/// <summary>What all ranks agree on after the backward of a step.</summary>
/// <param name="Loss">Mean over the global batch's tokens, in nats.</param>
/// <param name="GradientNorm">L2 norm of the whole gradient before clipping.</param>
/// <param name="LearningRate">Learning rate of the update.</param>
/// <param name="Stops">Ranks that were asked to stop.</param>
/// <param name="StopsWithCheckpoint">Those of them that are to save a checkpoint.</param>
/// <param name="Parts">Where the time went since they agreed on the step before, mean over ranks.</param>
public readonly record struct StepResult(
    double Loss, double GradientNorm, double LearningRate, int Stops, int StopsWithCheckpoint, StepParts Parts)
{
    /// <summary>Steps skipped so far, this one included.</summary>
    public int SkippedSteps { get; init; }

    /// <summary>Why this step was skipped; null when weights were updated.</summary>
    public string? SkipReason { get; init; }
}

/// <summary>Too many steps were skipped; weights are those after the last step that was not.</summary>
public sealed class DivergedException(int step, string reason) : Exception(reason)
{
    /// <summary>The step.</summary>
    public int Step { get; } = step;
}

/// <summary>One rank's part of training: model, optimizer and data on one mesh. Used by one thread.</summary>
public sealed class Trainer : IDisposable
{
    private const int AgreedFigures = 4;

    private readonly TrainingPlan _plan;
    private readonly ParallelGroups _groups;
    private readonly TrainingData _data;
    private readonly IReadOnlyList<ParallelStage> _chunks;
    private readonly PipelineRunner _runner;
    private readonly DataParallelExchange _exchange;
    private readonly IParallelOptimizer _optimizer;
    private readonly StepRecorder _recorder;
    private readonly PinnedStaging? _staging;

    /// <summary>Allocates the rank's tensors; <see cref="Parameters"/> are zero until they are initialised or read.</summary>
    /// <param name="plan">What to train.</param>
    /// <param name="groups">The rank's groups.</param>
    /// <param name="shards">The data: one shard, or one per source of the job's mixture.</param>
    /// <param name="recorder">Takes where the time goes; null for nobody.</param>
    /// <param name="device">Where to compute; null for the CPU.</param>
    /// <param name="staging">Brings batches to a GPU; null on the CPU. Not owned.</param>
    /// <exception cref="InputUnreadableException">The data are too short.</exception>
    public Trainer(
        TrainingPlan plan, ParallelGroups groups, IReadOnlyList<TokenFile> shards, StepRecorder? recorder = null, TorchSharp.torch.Device? device = null,
        PinnedStaging? staging = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(groups);
        (_plan, _groups, _staging) = (plan, groups, staging);
        _recorder = recorder ?? new StepRecorder(1);
        var spec = plan.Spec;
        _data = new TrainingData(spec, shards);
        var types = spec.Training.Precision switch
        {
            Precision.BFloat16 => TrainingTypes.BFloat16,
            Precision.Float32 => TrainingTypes.Float32,
            Precision.Float64 => TrainingTypes.Float64,
            _ => throw new ArgumentOutOfRangeException(nameof(plan)),
        };
        Parameters = new ParameterStore(
            StageLayout.Create(plan.Model, plan.Mesh, groups.Coordinate, plan.Layout, plan.Adapters),
            new ParameterStorage(types, (ZeroStage)spec.Parallelism.ZeroStage, spec.Optimizer.Muon is not null, device));
        _exchange = new DataParallelExchange(groups, Parameters) { Recorder = _recorder };
        _chunks = ParallelStage.CreateAll(groups, Parameters, spec.Data.SequenceLength, spec.Training.ActivationCheckpointing switch
        {
            "none" => ActivationCheckpointing.None,
            "selective" => ActivationCheckpointing.Selective,
            "full" => ActivationCheckpointing.Full,
            _ => throw new ArgumentOutOfRangeException(nameof(plan)),
        }, _exchange, spec.Training.ZLossCoefficient);
        _runner = new PipelineRunner(groups, _chunks, spec.Parallelism.Schedule, PipelineExchange.Buffered, _recorder);
        var optimizer = spec.Optimizer;
        var settings = new AdamWSettings(optimizer.Beta1, optimizer.Beta2, optimizer.Eps, optimizer.WeightDecay, optimizer.GradClip);
        _optimizer = optimizer.Muon is { } muon
            ? new ParallelMuon(groups, Parameters, settings, new MuonSettings(muon.Momentum, muon.Nesterov, muon.NewtonSchulzSteps))
            : new ParallelAdamW(Parameters, settings);
    }

    /// <summary>The rank's weights and optimizer state.</summary>
    public ParameterStore Parameters { get; }

    /// <summary>What was skipped so far; set it when resuming.</summary>
    public LossGuardState Guard { get; set; } = LossGuardState.Start;

    /// <summary>Whether there are held-out sequences to evaluate.</summary>
    public bool CanEvaluate => _data.HeldOut.Count > 0;

    /// <summary>Takes one step; every rank of the mesh calls this with the same step.</summary>
    /// <param name="step">Step, from 1.</param>
    /// <param name="stops">This rank was asked to stop.</param>
    /// <param name="stopsWithCheckpoint">And to save a checkpoint.</param>
    /// <exception cref="DivergedException">Too many steps were skipped; all ranks throw it.</exception>
    public StepResult Step(int step, bool stops, bool stopsWithCheckpoint)
    {
        try
        {
            return TakeStep(step, stops, stopsWithCheckpoint);
        }
        catch (Exception failure) when (failure is not (CollectiveException or DivergedException))
        {
            // Collectives of this step may be under way; whoever waits for them hears the cause at once.
            _groups.World.Abort(failure.Message);
            throw;
        }
    }

    private StepResult TakeStep(int step, bool stops, bool stopsWithCheckpoint)
    {
        var training = _plan.Spec.Training;
        var micro = _plan.Spec.Parallelism.MicroBatchSize;
        var batch = _data.GlobalBatch(step);
        var counted = Math.Max(1, _data.Counted(batch));
        var mine = batch.AsSpan(_groups.Coordinate.Data * (batch.Length / _plan.Mesh.Data), batch.Length / _plan.Mesh.Data).ToArray();
        _exchange.BeginStep(_plan.MicroBatches);
        var lossSum = _runner.Train(_plan.MicroBatches, micro, i => _data.Load(mine.AsSpan(i * micro, micro), Parameters.Device, _staging), 1.0 / counted);
        _exchange.FinishGradients();

        Span<double> sums = stackalloc double[AgreedFigures + StepParts.Count];
        (sums[0], sums[1]) = (_groups.Coordinate.Tensor == 0 ? lossSum : 0, SquaredNormShare());
        (sums[2], sums[3]) = (stops ? 1 : 0, stopsWithCheckpoint ? 1 : 0);
        _recorder.TakePeriod(sums[AgreedFigures..]);
        _groups.World.AllReduceSum(sums);
        var (loss, norm) = (sums[0] / counted, Math.Sqrt(sums[1]));
        (var verdict, Guard) = LossGuard.Judge(training.LossGuard, Guard, step, loss, norm);
        if (verdict is StepVerdict.Stopped stopped)
            throw new DivergedException(step, stopped.Reason);
        var rate = LearningRate.At(_plan.Spec.Optimizer, training.Steps, step);
        using (_recorder.Begin(StepPart.Optimizer, "update"))
        {
            // Moments know nothing of skipped steps, so their bias is that of the updates.
            if (verdict is StepVerdict.Accepted)
                _optimizer.Update(step - Guard.SkippedSteps, rate, norm);
            else
                Parameters.ZeroGradients();
        }

        return new StepResult(loss, norm, rate, (int)sums[2], (int)sums[3], StepParts.Of(sums[AgreedFigures..], _plan.Mesh.WorldSize))
        {
            SkippedSteps = Guard.SkippedSteps,
            SkipReason = (verdict as StepVerdict.Skipped)?.Reason,
        };
    }

    /// <summary>Mean cross-entropy per token that counts over the held-out sequences, in nats; every rank calls this.</summary>
    public double Evaluate()
    {
        var chosen = _data.HeldOut.ToArray();
        var micro = _plan.Spec.Parallelism.MicroBatchSize;
        var perRound = micro * _plan.Mesh.Data;
        double sum = 0;
        for (var first = 0; first < chosen.Length; first += perRound)
        {
            // A round that is not full repeats the last sequence and leaves it out of the sum.
            var indices = Enumerable.Range(first + (_groups.Coordinate.Data * micro), micro).ToArray();
            var losses = _runner.Evaluate(() => _data.Load([.. indices.Select(i => chosen[Math.Min(i, chosen.Length - 1)])], Parameters.Device, _staging));
            for (var i = 0; i < losses.Length; i++)
                sum += indices[i] < chosen.Length && _groups.Coordinate.Tensor == 0 ? losses[i] : 0;
        }

        Span<double> total = [sum];
        _groups.World.AllReduceSum(total);
        return total[0] / Math.Max(1, _data.Counted(chosen));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _exchange.Dispose();
        foreach (var chunk in _chunks)
            chunk.Dispose();
        Parameters.Dispose();
    }

    private double SquaredNormShare()
    {
        using var span = _recorder.Begin(StepPart.Optimizer, "norm");
        return _exchange.SquaredNormShare();
    }
}
