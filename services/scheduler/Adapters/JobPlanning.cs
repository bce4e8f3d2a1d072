using System.Collections.Concurrent;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Scheduling.Capacity;
using Platform.Scheduling.Planning;
using Platform.V1;

namespace Platform.Scheduler.Adapters;

/// <summary>Plans jobs for the cluster as it is, or for one that somebody asks about.</summary>
internal sealed class JobPlanning(ControlView view, SchedulerOptions options)
{
    private readonly ConcurrentDictionary<(string Kind, Precision Precision), (double OfOne, double OfAll)> rates = new();

    /// <summary>Remembers what ranks measured, so that later plans go by it.</summary>
    public void Observe(string deviceKind, int ranks, RunMeasurement measured)
    {
        if (measured.PeakFlops > 0)
        {
            // A single rank says nothing of what all together reach, unless nothing else is known.
            double alone = Math.Max(measured.PeakFlops, measured.PeakFlopsAlone);
            rates.AddOrUpdate(
                (deviceKind, measured.Precision ?? Precision.Float32), _ => (alone, measured.PeakFlops * ranks),
                (_, known) => (alone, ranks == 1 ? Math.Max(known.OfAll, alone) : measured.PeakFlops * ranks));
        }
    }

    /// <summary>Plans a job: its own layout, or one for it when it leaves that open. Null when the shape of its model cannot be read here.</summary>
    /// <param name="job">The job, names of models replaced by directories.</param>
    /// <param name="asked">A cluster to plan for instead of the real one.</param>
    /// <param name="price">Price of a device for an hour instead of the configured one.</param>
    /// <exception cref="FailedPreconditionException">The real cluster has no such device, so nothing can be planned.</exception>
    /// <exception cref="InvalidRequestException">The cluster that is asked about makes no sense.</exception>
    public LayoutPlan? Plan(TrainingJobSpec job, PlanCluster? asked, double? price)
    {
        var notes = new List<string>();
        var model = job.Model.From is { } from ? ModelDirectories.ConfigOf(from) : ModelShapes.Of(job, notes);
        if (model is null)
        {
            return null;
        }

        var cluster = asked is null ? Present(job, price) : Asked(asked, price);
        if (cluster is null)
        {
            return job.Parallelism.Auto ? throw NoDevices(job) : null;
        }

        // A cluster that is only thought of may have what this release has not; the real one may not.
        Func<TrainingJobSpec, bool> isAvailable = asked is null ? CanRun : _ => true;
        return job.Parallelism.Auto
            ? LayoutPlanner.Choose(job, model, cluster, isAvailable, notes)
            : LayoutPlanner.Predict(job, model, cluster, isAvailable, notes);
    }

    /// <summary>The job with the layout that the planner chooses.</summary>
    /// <exception cref="FailedPreconditionException">Nothing fits, or nothing is known of the cluster or the model.</exception>
    public TrainingJobSpec Resolve(TrainingJobSpec job)
    {
        var plan = Plan(job, null, null) ?? throw new FailedPreconditionException(
            "NO_PLAN", "parallelism: auto needs the shape of the model, and the model to continue from cannot be read here; give tensor, pipeline and data.");
        return plan.Infeasible.Length == 0 ? plan.Job : throw new FailedPreconditionException("INFEASIBLE_MEMORY", plan.Infeasible);
    }

    private static bool CanRun(TrainingJobSpec job) => JobSpecReader.Read(JobSpecWriter.ToJson(job)) is Validated<TrainingJobSpec>.Valid;

    private static FailedPreconditionException NoDevices(TrainingJobSpec job) => new(
        "NO_DEVICES", $"parallelism: auto needs to know the cluster, and it has no {job.Resources.Device} device yet; wait for a node, or give tensor, pipeline and data.");

    private PlannedCluster? Present(TrainingJobSpec job, double? price)
    {
        string kind = job.Resources.Device;
        var cluster = PlannedCluster.Of(
            CapacityForecast.Largest(view.Now.Cluster, options.Control.Capacity, job.Resources.Ephemeral ? job.Name : null), kind, job.Resources.DeviceMilli,
            rates.TryGetValue((kind, job.Training.Precision), out var rate) ? rate : null, price ?? PriceOf(kind));
        return cluster is not null && job.Resources.DeviceMemoryBytes is { } claimed ? cluster with { MemoryBytes = Math.Min(claimed, cluster.MemoryBytes) } : cluster;
    }

    private PlannedCluster Asked(PlanCluster asked, double? price)
    {
        var violations = new List<Violation>();
        var profile = DeviceProfile.Find(asked.DeviceKind);
        Require(profile is not null, "cluster.device_kind", $"'{asked.DeviceKind}' is not a known kind; use cuda or one of {string.Join(", ", DeviceProfile.Kinds)}.");
        Require(asked.Nodes is > 0 and <= 100_000, "cluster.nodes", $"Expected 1 to 100000, found {asked.Nodes}.");
        Require(asked.DevicesPerNode is > 0 and <= 1024, "cluster.devices_per_node", $"Expected 1 to 1024, found {asked.DevicesPerNode}.");
        long? memory = null;
        if (asked.DeviceMemory.Length > 0)
        {
            bool isSize = ByteSize.TryParse(asked.DeviceMemory, out long bytes);
            Require(isSize && bytes > 0, "cluster.device_memory", $"'{asked.DeviceMemory}' is no size such as 80GiB.");
            memory = bytes;
        }

        if (violations.Count > 0 || profile is null)
        {
            throw new InvalidRequestException(violations);
        }

        return PlannedCluster.Of(asked.Nodes, asked.DevicesPerNode, memory, profile, price ?? PriceOf(profile.Kind));

        void Require(bool holds, string field, string message)
        {
            if (!holds)
            {
                violations.Add(new Violation(field, message));
            }
        }
    }

    private double? PriceOf(string kind) => options.DevicePricePerHour.TryGetValue(kind, out double price) ? price : null;
}
