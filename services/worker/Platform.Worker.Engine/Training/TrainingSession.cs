using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Platform.Core;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Core.Validation;
using Platform.Torch.Collectives;
using Platform.Torch.Cuda;
using Platform.Torch.Parallel;
using Platform.Torch.Timelines;
using Platform.Worker.Engine.Checkpoints;
using Platform.Worker.Engine.Data;
using Platform.Worker.Engine.Measuring;
using Platform.Worker.Engine.Planning;

namespace Platform.Worker.Engine.Training;

/// <summary>How a rank's work ended, when it did not fail.</summary>
public enum TrainingOutcome
{
    /// <summary>All steps are taken and the model is registered.</summary>
    Finished,

    /// <summary>Somebody asked it to stop.</summary>
    Stopped,
}

/// <summary>The job asks for something that this engine cannot do.</summary>
public sealed class PlanRefusedException(IReadOnlyList<Violation> violations)
    : Exception(string.Join(" ", violations.Select(violation => violation.ToString())))
{
    /// <summary>Everything that is wrong.</summary>
    public IReadOnlyList<Violation> Violations { get; } = violations;
}

/// <summary>
/// One rank's whole run on its model thread: data, resume, steps, checkpoints, export. Every rank of the world runs one.
/// </summary>
public sealed class TrainingSession
{
    private readonly ICollectiveWorld _world;
    private readonly RankLaunch _launch;
    private readonly TrainingJobSpec _spec;
    private readonly ITrainingHost _host;
    private readonly ILogger _logger;

    /// <summary>A session in a world of as many ranks as the job's layout has, or for an elastic job as one of its widths gives.</summary>
    /// <param name="world">All ranks.</param>
    /// <param name="launch">What the rank was told.</param>
    /// <param name="spec">The job.</param>
    /// <param name="host">Whom to talk to.</param>
    /// <param name="logger">Where rank 0 writes what happens.</param>
    /// <exception cref="PlanRefusedException">The job does not run on so many ranks.</exception>
    public TrainingSession(ICollectiveWorld world, RankLaunch launch, TrainingJobSpec spec, ITrainingHost host, ILogger logger)
    {
        ArgumentNullException.ThrowIfNull(launch);
        ArgumentNullException.ThrowIfNull(world);
        (_world, _launch, _spec, _host, _logger) = (world, launch, ElasticWidth.Of(spec, world.Size), host, logger);
    }

    /// <summary>The rank is alone in its process, so that the process's memory can be measured as its own.</summary>
    public bool OwnsProcess { get; init; }

    /// <summary>Where to compute; null for the CPU.</summary>
    public TorchSharp.torch.Device? Device { get; init; }

    /// <summary>Brings batches to a GPU; null on the CPU. Not owned.</summary>
    public PinnedStaging? Staging { get; init; }

    /// <summary>Runs to the end, or until somebody asks to stop.</summary>
    /// <exception cref="PlanRefusedException">The job asks for something that this engine cannot do.</exception>
    /// <exception cref="InputUnreadableException">Data or tokenizer cannot be read.</exception>
    /// <exception cref="CheckpointUnreadableException">The checkpoint cannot be read.</exception>
    /// <exception cref="CheckpointWriteException">A checkpoint cannot be written.</exception>
    /// <exception cref="DivergedException">A loss is not finite.</exception>
    /// <exception cref="CollectiveException">Another rank failed.</exception>
    public TrainingOutcome Run()
    {
        var layout = _spec.Parallelism;
        var start = StartingPoint.Open(_spec, _launch.ArtifactRoot);
        using var gauge = new RankGauge(OwnsProcess && _spec.Resources.Device == "cpu");
        using var world = new RecordingWorld(_world, gauge.Recorder);
        using var groups = ParallelGroups.Create(
            world, new DeviceMesh(layout.Tensor, layout.Pipeline, layout.Data), start?.Config.Model.TieWordEmbeddings ?? _spec.Model.TieWordEmbeddings);

        using var dataset = Prepare(groups, start?.WithTokenizer(_spec.Data) ?? _spec.Data);
        if (dataset is null)
            return TrainingOutcome.Stopped;
        var plan = Resolve(dataset, start);
        using var trainer = new Trainer(plan, groups, dataset.Shards, gauge.Recorder, Device, Staging);
        using var saver = new CheckpointSaver(_launch, plan, groups, _host, _logger);
        var (done, loss) = Begin(trainer, saver, start);

        if (done < _spec.Training.Steps)
        {
            gauge.MeasurePeak(plan, groups.World, Device);
            saver.Prepare(trainer.Parameters);
            try
            {
                var outcome = Train(trainer, saver, plan, groups, gauge, done, ref loss);
                if (outcome == TrainingOutcome.Stopped)
                    return outcome;
            }
            finally
            {
                gauge.WriteTimeline(_launch, groups, isLast: true);
            }
        }

        var saved = saver.Saved ?? throw new InvalidOperationException("A run ends with a checkpoint.");
        WorldWait.Until(groups.World, _launch.Rank != 0 ? Task.CompletedTask : Task.Factory.StartNew(
            () => Export(new ModelExport(_launch, plan, start, dataset), saved, loss), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default));
        return TrainingOutcome.Finished;
    }

    private Dataset? Prepare(ParallelGroups groups, DataSpec data)
    {
        using var span = RankTelemetry.Source.StartActivity("prepare-data");
        _host.Progress("tokenizing", null);
        var hash = DatasetAgreement.Reach(
            groups.World,
            cancel => DatasetBuilder.Build(_launch.ArtifactRoot, data, TokenizingProgress.Of(_host, _logger), cancel),
            _host.StopRequested);
        return hash is null ? null : Dataset.Open(Path.Combine(_launch.ArtifactRoot, ArtifactLayout.Dataset(hash)));
    }

    private TrainingPlan Resolve(Dataset dataset, StartingPoint? start)
    {
        start?.CheckTokenizer(dataset.Tokenizer);
        var tokenizer = dataset.Tokenizer.Tokenizer;
        var plan = TrainingPlan.Resolve(_spec, tokenizer.VocabularySize, tokenizer.EndOfSequenceId, start?.Config.Model) switch
        {
            Validated<TrainingPlan>.Valid valid => valid.Value,
            Validated<TrainingPlan>.Invalid invalid => throw new PlanRefusedException(invalid.Violations),
            _ => throw new InvalidOperationException("A plan is valid or not."),
        };
        if (_launch.Rank == 0 && start is not null)
            RankLog.Continued(_logger, start.Directory, plan.TrainedCount, plan.Model.ParameterCount);
        if (_launch.Rank == 0)
            RankLog.Planned(
                _logger, plan.Model.ParameterCount, plan.Mesh.Tensor, plan.Mesh.Pipeline, plan.Mesh.Data, dataset.Description.Tokens,
                plan.Model.VocabSize, plan.TokensPerStep);
        return plan;
    }

    private (int Step, double Loss) Begin(Trainer trainer, CheckpointSaver saver, StartingPoint? start)
    {
        _host.Progress("preparing", null);

        // A checkpoint of adapters has no frozen weights.
        if (start is not null && (_launch.ResumeFrom is null || _spec.Lora is not null))
            start.Load(trainer.Parameters, _spec.Training.Seed);
        else if (_launch.ResumeFrom is null)
            trainer.Parameters.Initialise(_spec.Training.Seed);
        if (_launch.ResumeFrom is not { } checkpoint)
            return (0, double.NaN);

        using var span = RankTelemetry.Source.StartActivity("resume");
        var (step, loss) = Resume(trainer, saver, checkpoint);
        span?.SetTag("step", step);
        if (_launch.Rank == 0)
            RankLog.Resumed(_logger, checkpoint, step);
        return (step, loss);
    }

    private (int Step, double Loss) Resume(Trainer trainer, CheckpointSaver saver, string checkpoint)
    {
        try
        {
            (var step, var loss, trainer.Guard) = saver.Resume(trainer.Parameters, checkpoint);
            return (step, loss);
        }
        catch (CheckpointUnreadableException unreadable)
        {
            RankLog.Unreadable(_logger, checkpoint, unreadable.Message);
            throw;
        }
    }

    private TrainingOutcome Train(
        Trainer trainer, CheckpointSaver saver, TrainingPlan plan, ParallelGroups groups, RankGauge gauge, int done, ref double loss)
    {
        var (training, every) = (_spec.Training, _spec.Checkpoint.EverySteps);
        _host.Progress("training", (double)done / training.Steps);
        for (var step = done + 1; step <= training.Steps; step++)
        {
            var begun = Stopwatch.GetTimestamp();
            var stop = _host.Stop;
            gauge.Recorder.BeginStep(step);
            var result = trainer.Step(step, stop is not null, stop?.Checkpoint == true);
            var seconds = Stopwatch.GetElapsedTime(begun).TotalSeconds;
            if (result.SkipReason is { } reason && _launch.Rank == 0)
                RankLog.Skipped(_logger, reason, result.SkippedSteps);
            loss = double.IsFinite(result.Loss) ? result.Loss : loss;
            var isEvaluated = training.EvalEvery > 0 && trainer.CanEvaluate && (step % training.EvalEvery == 0 || step == training.Steps);
            double? evalLoss = isEvaluated ? Evaluate(trainer, gauge) : null;
            var utilization = gauge.Add(plan, seconds, result.Parts);
            var measurement = RankGauge.IsDue(step, training.Steps) ? gauge.Exchange(plan, groups.World) : null;
            if (_launch.Rank == 0 && double.IsFinite(result.Loss) && double.IsFinite(result.GradientNorm))
                Report(new StepMetrics(
                    step, loss, result.GradientNorm, plan.TokensPerStep / seconds, result.LearningRate, seconds, evalLoss)
                { Parts = result.Parts, ModelFlopsUtilization = utilization, Measurement = measurement, SkippedSteps = result.SkippedSteps }, training.Steps);
            gauge.WriteTimeline(_launch, groups, isLast: false);

            var stops = result.Stops > 0;
            saver.Poll();
            if (step == training.Steps || (every > 0 && step % every == 0) || (stops && result.StopsWithCheckpoint > 0))
                Save(trainer, saver, gauge, step, loss);
            if (stops && step < training.Steps)
            {
                saver.Drain();
                return TrainingOutcome.Stopped;
            }

            if (step < training.Steps)
                _host.Progress("training", (double)step / training.Steps);
        }

        _host.Progress("saving", null);
        saver.Drain();
        return TrainingOutcome.Finished;
    }

    private void Report(StepMetrics point, int steps)
    {
        _host.Point(point);
        RankLog.Step(_logger, point.Step, steps, point.Loss, point.GradNorm, point.LearningRate, point.TokensPerSecond);
        if (point.EvalLoss is { } held)
            RankLog.Evaluated(_logger, point.Step, held, Math.Exp(held));
    }

    private static double Evaluate(Trainer trainer, RankGauge gauge)
    {
        using var span = gauge.Recorder.Begin(StepPart.Other, "evaluate");
        return trainer.Evaluate();
    }

    private void Save(Trainer trainer, CheckpointSaver saver, RankGauge gauge, int step, double loss)
    {
        using var pause = gauge.Recorder.Begin(StepPart.Checkpoint, "checkpoint");
        using var copy = gauge.SetAside();
        using var span = RankTelemetry.Source.StartActivity("checkpoint");
        span?.SetTag("step", step);
        _host.Progress("saving", null);
        saver.Begin(trainer.Parameters, step, loss, trainer.Guard);
    }

    private void Export(ModelExport export, string checkpoint, double loss)
    {
        using var span = RankTelemetry.Source.StartActivity("export");
        _host.Progress("exporting", null);
        var directory = export.Write(checkpoint);
        var name = _spec.Output.RegisterAs ?? _spec.Name;
        _host.RegisterModel(name, directory, loss);
        RankLog.Exported(_logger, name, directory);
    }
}
