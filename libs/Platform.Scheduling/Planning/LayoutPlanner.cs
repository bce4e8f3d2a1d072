using System.Globalization;
using Platform.Core.Jobs;
using Platform.Core.Models;

namespace Platform.Scheduling.Planning;

/// <summary>
/// Chooses how a job is split, and says what that costs. Model parallelism is as small as the states of the model allow
/// without sharding them over data, tensor before pipeline, tensor groups inside a node (Narayanan et al. 2021, takeaways 1
/// to 3): such a layout runs at any data-parallel width. Sharding of states, recomputation and micro-batch are then those of
/// the least time per step. A model that is too large for that takes the fastest layout that fits at all.
/// </summary>
public static class LayoutPlanner
{
    private const int ShownAlternatives = 6;
    private const int ShownRejected = 12;

    // Predictions closer than this are equal; the simpler layout wins.
    private const double Tie = 1.02;

    // More model parallelism than is needed must be this much faster.
    private const double WorthMoreModelRanks = 0.7;

    private static readonly string[] Recomputations = ["none", "selective", "full"];

    /// <summary>What the job's own layout costs.</summary>
    /// <param name="job">A job with its widths given.</param>
    /// <param name="model">Shape of its model.</param>
    /// <param name="cluster">Devices.</param>
    /// <param name="isAvailable">Whether the engine can run a job with its layout resolved; other layouts are compared only if it can.</param>
    /// <param name="notes">What was assumed.</param>
    public static LayoutPlan Predict(
        TrainingJobSpec job, ModelConfig model, PlannedCluster cluster, Func<TrainingJobSpec, bool> isAvailable, IReadOnlyList<string> notes)
    {
        ArgumentNullException.ThrowIfNull(job);
        ArgumentNullException.ThrowIfNull(cluster);
        var chosen = LayoutCandidates.Cost(job, model, cluster);
        var candidates = new LayoutCandidates(job, model, cluster, isAvailable);
        var all = candidates.All();
        bool fits = Fits(chosen, cluster);
        return new LayoutPlan(
            job, model, cluster, chosen, fits ? "" : WhyNot(chosen, cluster, all), "", Alternatives(chosen, all, cluster),
            Rejected(chosen, all, cluster, candidates), notes);
    }

    /// <summary>A layout for a job that leaves it open.</summary>
    /// <param name="job">The job.</param>
    /// <param name="model">Shape of its model.</param>
    /// <param name="cluster">Devices.</param>
    /// <param name="isAvailable">Whether the engine can run a job with its layout resolved.</param>
    /// <param name="notes">What was assumed.</param>
    /// <returns>The plan; when nothing fits, the smallest layout and why.</returns>
    public static LayoutPlan Choose(
        TrainingJobSpec job, ModelConfig model, PlannedCluster cluster, Func<TrainingJobSpec, bool> isAvailable, IReadOnlyList<string> notes)
    {
        ArgumentNullException.ThrowIfNull(job);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cluster);
        var candidates = new LayoutCandidates(job, model, cluster, isAvailable);
        var all = candidates.All();
        if (all.Count == 0)
        {
            var alone = LayoutCandidates.Cost(job with { Parallelism = new ParallelismSpec() }, model, cluster);
            return new LayoutPlan(
                job with { Parallelism = alone.Layout }, model, cluster, alone, "No layout that the engine has suits this model and cluster.", "", [],
                Rejected(alone, all, cluster, candidates), notes);
        }

        var fitting = all.Where(candidate => Fits(candidate, cluster)).ToList();
        var whole = fitting.Where(candidate => Unsharded(job, model, candidate) <= cluster.UsableBytes).ToList();
        var (chosen, reason) = (fitting.Count, whole.Count) switch
        {
            (0, _) => (all.OrderBy(candidate => candidate.Memory.Total).First(), ""),
            (_, 0) => (Fastest(fitting), WhySharded(job, model, cluster, all)),
            _ => (Smallest(whole), ""),
        };
        if (whole.Count > 0)
        {
            reason = WhyChosen(job, model, chosen, cluster);
        }

        var resolved = job with
        {
            Parallelism = chosen.Layout,
            Training = job.Training with { ActivationCheckpointing = chosen.Recomputation },
        };
        return new LayoutPlan(
            resolved, model, cluster, chosen, fitting.Count > 0 ? "" : WhyNot(chosen, cluster, all), reason, Alternatives(chosen, all, cluster),
            Rejected(chosen, all, cluster, candidates), notes);
    }

    private static bool Fits(PlannedLayout candidate, PlannedCluster cluster) =>
        candidate.Memory.Total <= cluster.UsableBytes && candidate.Layout.WorldSize <= cluster.Devices;

    private static long Unsharded(TrainingJobSpec job, ModelConfig model, PlannedLayout candidate) =>
        new MemoryModel(job with { Parallelism = candidate.Layout }, model).UnshardedStates();

    private static PlannedLayout Smallest(List<PlannedLayout> candidates)
    {
        // Fewer stages before fewer tensor ranks: a tensor group has no bubble.
        PlannedLayout? chosen = null;
        foreach (var group in candidates.GroupBy(candidate => (candidate.ModelRanks, candidate.Layout.Pipeline)).OrderBy(group => group.Key))
        {
            var best = Fastest(group);
            if (chosen is null || (best.ModelRanks > chosen.ModelRanks && best.Step.Seconds < WorthMoreModelRanks * chosen.Step.Seconds))
            {
                chosen = best;
            }
        }

        return chosen ?? throw new InvalidOperationException("There is at least one candidate.");
    }

    private static PlannedLayout Fastest(IEnumerable<PlannedLayout> candidates)
    {
        var all = candidates.ToList();
        double limit = all.Min(candidate => candidate.Step.Seconds) * Tie;
        return all.Where(candidate => candidate.Step.Seconds <= limit)
            .OrderBy(candidate => candidate.Layout.ZeroStage).ThenBy(candidate => Array.IndexOf(Recomputations, candidate.Recomputation))
            .ThenBy(candidate => candidate.ModelRanks).ThenBy(candidate => candidate.Step.Seconds).First();
    }

    private static List<PlannedLayout> Alternatives(PlannedLayout chosen, IReadOnlyList<PlannedLayout> all, PlannedCluster cluster) =>
    [
        .. all.Where(candidate => Fits(candidate, cluster))
            .GroupBy(candidate => (candidate.Layout.Tensor, candidate.Layout.Pipeline, candidate.Layout.ZeroStage))
            .Where(group => group.Key != (chosen.Layout.Tensor, chosen.Layout.Pipeline, chosen.Layout.ZeroStage))
            .Select(Fastest).OrderBy(candidate => candidate.Step.Seconds).Take(ShownAlternatives)
            .Select(candidate => candidate with { Reason = Compare(candidate, chosen) }),
    ];

    private static string Compare(PlannedLayout candidate, PlannedLayout chosen)
    {
        double ratio = candidate.Step.Seconds / chosen.Step.Seconds;
        string speed = ratio switch
        {
            < 0.99 => Invariant($"{(1 - ratio) * 100:0} % less time per step"),
            > 1.01 => Invariant($"{(ratio - 1) * 100:0} % more time per step"),
            _ => "as fast",
        };
        return candidate.ModelRanks < chosen.ModelRanks && candidate.Layout.ZeroStage > 0
            ? $"{speed}; it fits only as long as states are sharded over a data-parallel width near {candidate.Layout.Data}"
            : candidate.ModelRanks > chosen.ModelRanks ? $"{speed}; it splits the model further than its states need" : speed;
    }

    private static List<PlannedLayout> Rejected(
        PlannedLayout chosen, IReadOnlyList<PlannedLayout> all, PlannedCluster cluster, LayoutCandidates candidates)
    {
        var tooLarge = all.GroupBy(candidate => (candidate.Layout.Tensor, candidate.Layout.Pipeline, candidate.Layout.ZeroStage))
            .Select(group => group.MinBy(candidate => candidate.Memory.Total) ?? chosen).Where(candidate => !Fits(candidate, cluster))
            .OrderBy(candidate => candidate.Memory.Total)
            .Select(candidate => candidate with { Reason = Needs(candidate, cluster) });
        var refused = candidates.RefusedWidths.Select(width => new PlannedLayout(
            new ParallelismSpec { Tensor = width.Tensor }, "", default, chosen.Step with { Seconds = 0, CommunicationBytes = 0, BubbleFraction = 0, ModelFlopsUtilization = 0 }, width.Reason));
        return [.. refused, .. tooLarge.Take(ShownRejected)];
    }

    private static string WhyChosen(TrainingJobSpec job, ModelConfig model, PlannedLayout chosen, PlannedCluster cluster)
    {
        long states = new MemoryModel(job with { Parallelism = new ParallelismSpec() }, model).UnshardedStates();
        string all = $"Weights, gradients and optimizer state are {Size(states)}";
        return chosen.ModelRanks == 1
            ? $"{all} and fit one device ({Size(cluster.UsableBytes)} usable), so every rank has the whole model and its own data."
            : $"{all}; {Size(cluster.UsableBytes)} of a device are usable, so ranks must share a copy of the model; {chosen.ModelRanks} are the fewest that model and cluster allow: {Words(chosen.Layout)}.";
    }

    private static string WhySharded(TrainingJobSpec job, ModelConfig model, PlannedCluster cluster, IReadOnlyList<PlannedLayout> all)
    {
        long least = all.Min(candidate => Unsharded(job, model, candidate));
        return $"Even split over every device, a whole copy of weights, gradients and optimizer state takes {Size(least)} per rank and {Size(cluster.UsableBytes)} are usable, so they are sharded over the data-parallel ranks as well.";
    }

    private static string WhyNot(PlannedLayout chosen, PlannedCluster cluster, IReadOnlyList<PlannedLayout> all)
    {
        string wrong = chosen.Layout.WorldSize > cluster.Devices
            ? $"{Words(chosen.Layout)} needs {chosen.Layout.WorldSize} devices; there are {cluster.Devices}."
            : $"{Words(chosen.Layout)} does not fit: {Needs(chosen, cluster)}";
        var fitting = all.Where(candidate => Fits(candidate, cluster)).ToList();
        if (fitting.Count == 0)
        {
            var least = all.Count > 0 ? all.MinBy(candidate => candidate.Memory.Total) ?? chosen : chosen;
            return $"{wrong} No layout fits these {cluster.Devices} devices: the smallest, {Words(least.Layout)} with recomputation {least.Recomputation}, needs {Size(least.Memory.Total)} per rank.";
        }

        // The simplest of each family: tensor only, sharded states only, and stages.
        var remedies = new[]
        {
            fitting.Where(each => each.Layout is { Pipeline: 1, ZeroStage: 0 }).OrderBy(each => each.Layout.Tensor).ThenBy(each => each.Step.Seconds).FirstOrDefault(),
            fitting.Where(each => each.Layout is { Pipeline: 1, ZeroStage: > 0 }).OrderBy(each => each.Layout.Tensor).ThenBy(each => each.Layout.ZeroStage)
                .ThenBy(each => each.Step.Seconds).FirstOrDefault(),
            fitting.Where(each => each.Layout.Pipeline > 1).OrderBy(each => each.Step.Seconds).FirstOrDefault(),
        };
        return $"{wrong} What fits: {string.Join("; ", remedies.OfType<PlannedLayout>().Select(each => $"{Words(each.Layout)}, {Size(each.Memory.Total)} per rank{Extra(each)}"))}.";
    }

    private static string Extra(PlannedLayout layout) =>
        (layout.Recomputation == "none" ? "" : $" with activation_checkpointing: {layout.Recomputation}")
        + (layout.Layout.Pipeline > 1 ? Invariant($" and a bubble of {layout.Step.BubbleFraction * 100:0.#} %") : "");

    private static string Needs(PlannedLayout layout, PlannedCluster cluster)
    {
        long rest = layout.Memory.Total - layout.Memory.States;
        return $"{Size(layout.Memory.Total)} per rank ({Size(layout.Memory.States)} of weights, gradients and optimizer state, {Size(rest)} of activations and buffers); {Size(cluster.UsableBytes)} are usable.";
    }

    private static string Words(ParallelismSpec layout)
    {
        var words = new List<string>();
        if (layout.Tensor > 1)
        {
            words.Add($"tensor {layout.Tensor}");
        }

        if (layout.Pipeline > 1)
        {
            words.Add($"pipeline {layout.Pipeline}");
        }

        if (layout.Data > 1 || words.Count == 0)
        {
            words.Add($"data {layout.Data}");
        }

        return (layout.ZeroStage > 0 ? $"zero_stage {layout.ZeroStage} with " : "") + string.Join(" × ", words);
    }

    private static string Size(long bytes) => bytes >= 1L << 30
        ? Invariant($"{bytes / (double)(1L << 30):0.0} GiB")
        : Invariant($"{bytes / (double)(1L << 20):0.0} MiB");

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
