using Platform.Core.Jobs;
using Platform.Core.Models;

namespace Platform.Scheduling.Planning;

/// <summary>Every layout of a job that its model and batch allow on a cluster, with what it costs.</summary>
/// <param name="job">The job.</param>
/// <param name="model">Shape of its model.</param>
/// <param name="cluster">Devices.</param>
/// <param name="isAvailable">Whether the engine can run a job with its layout resolved.</param>
internal sealed class LayoutCandidates(TrainingJobSpec job, ModelConfig model, PlannedCluster cluster, Func<TrainingJobSpec, bool> isAvailable)
{
    private static readonly string[] Recomputations = ["none", "selective", "full"];
    private static readonly int[] VirtualStages = [1, 2, 4];
    private static readonly int[] ZeroStages = [0, 1, 3];
    private static readonly int[] MicroBatchSizes = [1, 2, 4, 8, 16, 32];

    private readonly Dictionary<(int Zero, bool Sequence, bool Pipeline, bool Interleaved), bool> _available = [];

    /// <summary>Tensor widths that the model does not allow, and why.</summary>
    public IReadOnlyList<(int Tensor, string Reason)> RefusedWidths { get; } =
        [.. Powers(cluster.DevicesPerNode).Select(tensor => (tensor, WhyNot(tensor, model))).Where(width => width.Item2.Length > 0)];

    /// <summary>All of them. Those that leave devices over because the groups do not divide the cluster come only if no other exists.</summary>
    public IReadOnlyList<PlannedLayout> All()
    {
        var even = Enumerate(mustDivide: true).ToList();
        return even.Count > 0 ? even : [.. Enumerate(mustDivide: false)];
    }

    /// <summary>What a job with its layout resolved costs.</summary>
    public static PlannedLayout Cost(TrainingJobSpec resolved, ModelConfig model, PlannedCluster cluster) => new(
        resolved.Parallelism, resolved.Training.ActivationCheckpointing, new MemoryModel(resolved, model).Fullest(),
        new StepModel(resolved, model, cluster).Predict());

    private static string WhyNot(int tensor, ModelConfig model)
    {
        foreach (var (count, what) in new[]
        {
            (model.NumAttentionHeads, "heads"), (model.NumKeyValueHeads, "key/value heads"), (model.IntermediateSize, "inner elements of the MLP"),
        })
        {
            if (count % tensor != 0)
            {
                return $"{count} {what} do not divide by {tensor}.";
            }
        }

        return "";
    }

    private static IEnumerable<int> Powers(int limit)
    {
        for (int power = 1; power <= limit; power *= 2)
        {
            yield return power;
        }
    }

    private IEnumerable<PlannedLayout> Enumerate(bool mustDivide)
    {
        for (int tensor = 1; tensor <= cluster.DevicesPerNode; tensor++)
        {
            // Tensor groups stay within a node.
            int width = tensor, devices = cluster.DevicesOfNodes.Sum(node => node / width * width);
            if (WhyNot(tensor, model).Length > 0 || devices == 0)
            {
                continue;
            }

            for (int pipeline = 1; pipeline <= Math.Min(model.NumHiddenLayers, devices / tensor); pipeline++)
            {
                if (mustDivide && devices % (tensor * pipeline) != 0)
                {
                    continue;
                }

                foreach (var candidate in Batches(tensor, pipeline, devices))
                {
                    yield return candidate;
                }
            }
        }
    }

    private IEnumerable<PlannedLayout> Batches(int tensor, int pipeline, int devices)
    {
        int batch = job.Training.GlobalBatchSize;
        int data = Enumerable.Range(1, devices / (tensor * pipeline)).Last(width => batch % width == 0);
        if (job.Resources.Elastic is { } elastic && (data < elastic.MinData || data > (elastic.MaxData ?? data)))
        {
            return [];
        }

        int least = Math.Max(0, Array.IndexOf(Recomputations, job.Training.ActivationCheckpointing));
        return from micro in MicroBatchSizes
               where batch / data % micro == 0
               from zero in ZeroStages
               where data > 1 || zero == 0
               from chunks in VirtualStages
               where chunks == 1 || (pipeline > 1 && model.NumHiddenLayers % (pipeline * chunks) == 0 && batch / data / micro % pipeline == 0)
               let layout = new ParallelismSpec
               {
                   Tensor = tensor,
                   Pipeline = pipeline,
                   Data = data,
                   MicroBatchSize = micro,
                   ZeroStage = zero,
                   VirtualStages = chunks,
                   Schedule = chunks > 1 ? PipelineSchedule.Interleaved : PipelineSchedule.OneForwardOneBackward,
               }
               where IsAvailable(layout)
               let split = layout with { SequenceParallel = true }
               let best = tensor > 1 && job.Data.SequenceLength % tensor == 0 && IsAvailable(split) ? split : layout
               from recomputation in Recomputations[least..]
               select Cost(
                   job with { Parallelism = best, Training = job.Training with { ActivationCheckpointing = recomputation } }, model, cluster);
    }

    /// <summary>Whether the engine has what a layout uses; its widths are in order, so one of a kind answers for all.</summary>
    private bool IsAvailable(ParallelismSpec layout)
    {
        var kind = (layout.ZeroStage, layout.SequenceParallel, layout.Pipeline > 1, layout.VirtualStages > 1);
        if (!_available.TryGetValue(kind, out bool known))
        {
            _available[kind] = known = isAvailable(job with { Parallelism = layout });
        }

        return known;
    }
}
