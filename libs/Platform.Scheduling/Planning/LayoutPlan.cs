using Platform.Core.Jobs;
using Platform.Core.Models;

namespace Platform.Scheduling.Planning;

/// <summary>A layout with what it costs.</summary>
/// <param name="Layout">The layout.</param>
/// <param name="Recomputation">none, selective or full.</param>
/// <param name="Memory">Bytes of the fullest rank.</param>
/// <param name="Step">What a step takes.</param>
/// <param name="Reason">Why it was not chosen; empty for the chosen one.</param>
public sealed record PlannedLayout(ParallelismSpec Layout, string Recomputation, MemoryForecast Memory, StepForecast Step, string Reason = "")
{
    /// <summary>Ranks that share one copy of the model.</summary>
    public int ModelRanks => Layout.Tensor * Layout.Pipeline;
}

/// <summary>What the planner says about a job.</summary>
/// <param name="Job">The job with its layout resolved.</param>
/// <param name="Model">Shape of its model.</param>
/// <param name="Cluster">Devices it was planned for.</param>
/// <param name="Chosen">The layout.</param>
/// <param name="Infeasible">Why it does not fit and what would; empty when it fits.</param>
/// <param name="Reason">Why it was chosen; empty when it was given.</param>
/// <param name="Alternatives">Other layouts that fit, fastest first.</param>
/// <param name="Rejected">Layouts that do not.</param>
/// <param name="Notes">What was assumed.</param>
public sealed record LayoutPlan(
    TrainingJobSpec Job, ModelConfig Model, PlannedCluster Cluster, PlannedLayout Chosen, string Infeasible, string Reason,
    IReadOnlyList<PlannedLayout> Alternatives, IReadOnlyList<PlannedLayout> Rejected, IReadOnlyList<string> Notes)
{
    /// <summary>Tokens of a step.</summary>
    public double TokensPerStep => (double)Job.Training.GlobalBatchSize * Job.Data.SequenceLength;

    /// <summary>Time of all steps.</summary>
    public double TotalSeconds => Chosen.Step.Seconds * Job.Training.Steps;

    /// <summary>Price of all steps; null when the price of a device is not known.</summary>
    public double? Cost => Cluster.PricePerDeviceHour * Chosen.Layout.WorldSize * TotalSeconds / 3600;

    /// <summary>Model FLOPs of all steps.</summary>
    public double TotalFlops => TokensPerStep * Job.Training.Steps * StepModel.FlopsPerToken(Model, Job.Data.SequenceLength);
}
