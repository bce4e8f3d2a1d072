using Platform.Core.Gangs;
using Platform.Worker.Agent.Core;
using Prometheus;

namespace Platform.Worker.Agent.Adapters;

/// <summary>Metrics of the node agent and of the training it supervises.</summary>
internal static class AgentMetrics
{
    private static readonly double[] StepBuckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100];

    private static readonly Gauge Step = Job("platform_training_step", "Last optimizer step.");
    private static readonly Gauge Loss = Job("platform_training_loss", "Mean loss over the global batch's tokens, in nats.");
    private static readonly Gauge EvalLoss = Job("platform_training_eval_loss", "Held-out loss, in nats.");
    private static readonly Gauge GradNorm = Job("platform_training_grad_norm", "L2 norm of the whole gradient before clipping.");
    private static readonly Gauge TokensPerSecond = Job("platform_training_tokens_per_second", "Tokens of the global batch over the step's wall time.");
    private static readonly Gauge LearningRate = Job("platform_training_learning_rate", "Learning rate of the last update.");
    private static readonly Gauge SkippedSteps = Job("platform_training_skipped_steps", "Steps that updated nothing, because their loss was not finite or a spike.");

    private static readonly Histogram StepSeconds = Metrics.CreateHistogram(
        "platform_training_step_seconds", "Wall time of an optimizer step.",
        new HistogramConfiguration { LabelNames = ["job"], Buckets = StepBuckets });

    private static readonly Counter Steps = Metrics.CreateCounter("platform_training_steps_total", "Optimizer steps finished.", "job");

    private static readonly Gauge LeaseSeconds = Metrics.CreateGauge(
        "platform_agent_lease_remaining_seconds", "Time until the node's lease runs out.", "node");

    private static readonly Gauge Processes = Metrics.CreateGauge("platform_agent_processes", "Rank and replica processes that run.", "node");

    private static readonly Gauge HeldDevices = Metrics.CreateGauge(
        "platform_agent_device_held_ratio", "Share of a device that attempts hold.", "node", "device");

    private static readonly Counter MemberPhases = Metrics.CreateCounter(
        "platform_agent_member_phases_total", "Phases that attempts on the node have entered.", "node", "phase");

    private static readonly Counter Failures = Metrics.CreateCounter(
        "platform_agent_failures_total", "Failed attempts on the node by reason.", "node", "reason");

    public static void Observe(string gang, StepMetrics point)
    {
        string job = JobOf(gang);
        Step.WithLabels(job).Set(point.Step);
        Loss.WithLabels(job).Set(point.Loss);
        GradNorm.WithLabels(job).Set(point.GradNorm);
        TokensPerSecond.WithLabels(job).Set(point.TokensPerSecond);
        LearningRate.WithLabels(job).Set(point.LearningRate);
        SkippedSteps.WithLabels(job).Set(point.SkippedSteps);
        StepSeconds.WithLabels(job).Observe(point.StepSeconds);
        Steps.WithLabels(job).Inc();
        if (point.EvalLoss is { } evalLoss)
        {
            EvalLoss.WithLabels(job).Set(evalLoss);
        }
    }

    /// <summary>Ends the gauges of a gang that no longer runs here; its counts stay until the process ends.</summary>
    public static void Forget(string gang)
    {
        foreach (Gauge gauge in new[] { Step, Loss, EvalLoss, GradNorm, TokensPerSecond, LearningRate, SkippedSteps })
        {
            gauge.RemoveLabelled(JobOf(gang));
        }
    }

    public static void Show(AgentState state, DateTimeOffset now)
    {
        LeaseSeconds.WithLabels(state.Node).Set(state.LeaseEnd is { } end ? Math.Max(0, (end - now).TotalSeconds) : 0);
        Processes.WithLabels(state.Node).Set(state.Attempts.Values.Sum(a => a.Ranks.Values.Count(r => r is RankProcess.Running)));
        IReadOnlyDictionary<int, int> held = AgentMachine.HeldMilli(state);
        foreach (int device in state.Devices.Keys)
        {
            HeldDevices.WithLabels(state.Node, $"{device}").Set(held.GetValueOrDefault(device) / 1000.0);
        }
    }

    public static void Count(GangMemberReport report)
    {
        MemberPhases.WithLabels(report.Node, report.Phase.ToString()).Inc();
        if (report is { Phase: MemberPhase.Failed, Failure: { } failure })
        {
            Failures.WithLabels(report.Node, failure.Code.ToString()).Inc();
        }
    }

    private static Gauge Job(string name, string help) => Metrics.CreateGauge(name, help, "job");

    private static string JobOf(string gang) => gang[(gang.LastIndexOf('/') + 1)..];
}
