using Platform.Core.Gangs;
using Platform.Scheduling.Gangs;
using Prometheus;

namespace Platform.Scheduler;

/// <summary>Every figure of the scheduler and, from the ranks' reports, of training.</summary>
internal static class SchedulerMetrics
{
    public static readonly Gauge Leader = Metrics.CreateGauge("platform_scheduler_leader", "1 while this process leads.");

    public static readonly Gauge Epoch = Metrics.CreateGauge("platform_scheduler_epoch", "Epoch of the leadership last held.");

    public static readonly Gauge Gangs = Metrics.CreateGauge("platform_scheduler_gangs", "Gangs that are not in a final stage.", "kind", "stage");

    public static readonly Gauge Pending = Metrics.CreateGauge("platform_scheduler_pending_gangs", "Gangs that wait for devices, by reason.", "reason");

    public static readonly Gauge Nodes = Metrics.CreateGauge("platform_scheduler_nodes", "Known nodes.", "state");

    public static readonly Gauge Devices = Metrics.CreateGauge("platform_scheduler_devices", "Devices of nodes in service.", "kind");

    public static readonly Gauge DevicesAllocated = Metrics.CreateGauge("platform_scheduler_devices_allocated", "Devices that live attempts hold, shares as fractions.", "kind");

    public static readonly Counter Attempts = Metrics.CreateCounter("platform_scheduler_attempts_total", "Attempts that ended.", "kind", "outcome");

    public static readonly Counter AttemptFailures = Metrics.CreateCounter("platform_scheduler_attempt_failures_total", "Failures of attempts.", "reason");

    public static readonly Histogram QueueWait = Metrics.CreateHistogram(
        "platform_scheduler_queue_wait_seconds", "From submission to first placement.", new HistogramConfiguration { Buckets = Histogram.ExponentialBuckets(0.01, 4, 10) });

    public static readonly Histogram Cycle = Metrics.CreateHistogram(
        "platform_scheduler_batch_seconds", "Time of one batch of events, decision and commit included.", new HistogramConfiguration { Buckets = Histogram.ExponentialBuckets(0.0005, 2, 14) });

    public static readonly Counter CommitFailures = Metrics.CreateCounter("platform_scheduler_commit_failures_total", "Batches that could not be committed.");

    public static readonly Counter CommandsDropped = Metrics.CreateCounter("platform_scheduler_commands_dropped_total", "Messages to nodes that could not be sent; leases make up for them.");

    public static readonly Gauge TrainingLoss = Metrics.CreateGauge("platform_training_loss", "Loss of the last step, in nats per token.", "job");

    public static readonly Gauge TrainingGradNorm = Metrics.CreateGauge("platform_training_grad_norm", "Norm of the last step's gradient.", "job");

    public static readonly Gauge TrainingTokensPerSecond = Metrics.CreateGauge("platform_training_tokens_per_second", "Tokens per second of the last step.", "job");

    public static readonly Gauge TrainingStep = Metrics.CreateGauge("platform_training_step", "Optimizer steps done.", "job");

    public static readonly Gauge TrainingCheckpointStep = Metrics.CreateGauge("platform_training_checkpoint_step", "Step of the last committed checkpoint.", "job");

    public static readonly Gauge TrainingCheckpointPause = Metrics.CreateGauge(
        "platform_training_checkpoint_pause_seconds", "How long training stood still for the last committed checkpoint.", "job");

    public static readonly Gauge TrainingCheckpointWrite = Metrics.CreateGauge(
        "platform_training_checkpoint_write_seconds", "From the decision to take the last committed checkpoint until its manifest was on disk.", "job");

    public static readonly Gauge TrainingCheckpointBytes = Metrics.CreateGauge(
        "platform_training_checkpoint_bytes", "Size of the last committed checkpoint.", "job");

    public static readonly Histogram TrainingStepSeconds = Metrics.CreateHistogram(
        "platform_training_step_seconds", "Wall time of optimizer steps.", new HistogramConfiguration { Buckets = Histogram.ExponentialBuckets(0.005, 2, 16) });

    public static readonly Gauge TrainingStepPartSeconds = Metrics.CreateGauge(
        "platform_training_step_part_seconds", "Seconds of the last step by what they went to, mean over ranks.", "job", "part");

    public static readonly Gauge TrainingUtilization = Metrics.CreateGauge(
        "platform_training_mfu_ratio", "Model FLOPs of the last step over what the devices could have done (6 per weight and token, and causal attention).", "job");

    public static readonly Gauge TrainingLiveTensorBytes = Metrics.CreateGauge(
        "platform_training_live_tensor_bytes", "Live tensor bytes of the fullest rank at their highest.", "job");

    /// <summary>Shows where the last step's time went and what the ranks measured.</summary>
    public static void ObserveFigures(string job, IReadOnlyList<StepMetrics> points)
    {
        if (points.LastOrDefault(point => point.Parts is not null) is { Parts: { } parts } last)
        {
            foreach (var (part, seconds) in parts.All())
            {
                TrainingStepPartSeconds.WithLabels(job, NameOf(part)).Set(seconds);
            }

            if (last.ModelFlopsUtilization is { } utilization)
            {
                TrainingUtilization.WithLabels(job).Set(utilization);
            }
        }

        if (points.LastOrDefault(point => point.Measurement is not null)?.Measurement is { LiveTensorBytes.Count: > 0 } measured)
        {
            TrainingLiveTensorBytes.WithLabels(job).Set(measured.LiveTensorBytes.Max());
        }
    }

    /// <summary>A checkpoint was committed.</summary>
    public static void Observe(string job, CommittedCheckpoint checkpoint)
    {
        TrainingCheckpointStep.WithLabels(job).Set(checkpoint.Step);
        if (checkpoint.Cost is { } cost)
        {
            TrainingCheckpointPause.WithLabels(job).Set(cost.PauseSeconds);
            TrainingCheckpointWrite.WithLabels(job).Set(cost.WriteSeconds);
            TrainingCheckpointBytes.WithLabels(job).Set(cost.SizeBytes);
        }
    }

    /// <summary>A job ended: its series end too, so that their number is bounded by the jobs that run.</summary>
    public static void Forget(string job)
    {
        TrainingLoss.RemoveLabelled(job);
        TrainingGradNorm.RemoveLabelled(job);
        TrainingTokensPerSecond.RemoveLabelled(job);
        TrainingStep.RemoveLabelled(job);
        TrainingCheckpointStep.RemoveLabelled(job);
        TrainingUtilization.RemoveLabelled(job);
        TrainingLiveTensorBytes.RemoveLabelled(job);
        foreach (var part in Enum.GetValues<StepPart>())
        {
            TrainingStepPartSeconds.RemoveLabelled(job, NameOf(part));
        }

        TrainingCheckpointPause.RemoveLabelled(job);
        TrainingCheckpointWrite.RemoveLabelled(job);
        TrainingCheckpointBytes.RemoveLabelled(job);
    }

    private static string NameOf(StepPart part) => part.ToString().ToLowerInvariant();
}
