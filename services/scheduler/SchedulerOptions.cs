using Platform.Core.Validation;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Placement;

namespace Platform.Scheduler;

/// <summary>Section <c>Scheduler</c>.</summary>
public sealed class SchedulerOptions : IValidatedOptions
{
    /// <summary>Where gRPC listens.</summary>
    public string Listen { get; set; } = "127.0.0.1:8082";

    /// <summary>Where <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c> listen.</summary>
    public string MetricsListen { get; set; } = "127.0.0.1:9082";

    /// <summary>How long a node's lease holds.</summary>
    public double LeaseSeconds { get; set; } = 10;

    /// <summary>
    /// Added to a lease that ran out before the node's devices count as free. It must exceed the time after which a rank
    /// without its agent ends (10 s, looked at every second) and the difference of clocks' speed.
    /// </summary>
    public double LeaseSkewSeconds { get; set; } = 15;

    /// <summary>How long the leadership holds; a standby takes over that long after the leader has died.</summary>
    public double LeaderLeaseSeconds { get; set; } = 6;

    /// <summary>Time between looks at what time alone brings about.</summary>
    public double TickSeconds { get; set; } = 0.5;

    /// <summary>Limit of a gang's preparation.</summary>
    public double PrepareSeconds { get; set; } = 60;

    /// <summary>Limit of a gang's start; a replica loads its model in this time.</summary>
    public double StartSeconds { get; set; } = 180;

    /// <summary>Grace of ranks that are to save their state before they stop.</summary>
    public double CheckpointGraceSeconds { get; set; } = 60;

    /// <summary>Wait after a gang's first failure; it doubles with each one in a row.</summary>
    public double BackoffSeconds { get; set; } = 1;

    /// <summary>How places are chosen among those that are equally near: foresight, fgd, best-fit or random.</summary>
    public string PlacementPolicy { get; set; } = PlacementPolicies.Foresight;

    /// <summary>Whether running jobs may be asked to make room for others, by checkpoint.</summary>
    public bool Preemption { get; set; } = true;

    /// <summary>How long a job runs at least before it may be asked to make room.</summary>
    public double PreemptionMinRuntimeSeconds { get; set; } = 120;

    /// <summary>Whether runtimes that nobody declared are predicted, from steps, from jobs of the same work, or by the planner.</summary>
    public bool PredictRuntimes { get; set; } = true;

    /// <summary>Whether elastic jobs give up data-parallel width for others, by checkpoint, and take idle devices.</summary>
    public bool Elastic { get; set; } = true;

    /// <summary>How long an elastic job runs at least at one width before it takes idle devices.</summary>
    public double ElasticMinRuntimeSeconds { get; set; } = 300;

    /// <summary>Whether jobs whose time is known may start before one that has to wait, when they do not delay it.</summary>
    public bool Backfill { get; set; } = true;

    /// <summary>Refuse jobs whose local data does not exist on this machine.</summary>
    public bool CheckDataPaths { get; set; } = true;

    /// <summary>How long checkpoints of jobs that failed for good or were cancelled are kept; 0 for ever.</summary>
    public double FailedCheckpointHours { get; set; } = 168;

    /// <summary>
    /// Price of a device for an hour, by kind of device (<c>cpu</c>, <c>cuda</c>, or a GPU such as <c>h100</c>), in any
    /// currency; plans and finished jobs then say what they cost.
    /// </summary>
    public Dictionary<string, double> DevicePricePerHour { get; set; } = [];

    /// <summary>Who gives nodes, and how many.</summary>
    public ProviderOptions Capacity { get; set; } = new();

    /// <inheritdoc/>
    public IEnumerable<Violation> Validate()
    {
        foreach (var violation in Capacity.Validate())
        {
            yield return violation with { Field = $"{nameof(Capacity)}:{violation.Field}" };
        }

        foreach (var (name, value) in new[] { (nameof(Listen), Listen), (nameof(MetricsListen), MetricsListen) })
        {
            if (!ListenAddress.TryParse(value, out _))
            {
                yield return new Violation(name, $"Expected host:port, found '{value}'.");
            }
        }

        foreach (var (name, value) in new[]
        {
            (nameof(LeaseSeconds), LeaseSeconds), (nameof(LeaderLeaseSeconds), LeaderLeaseSeconds), (nameof(TickSeconds), TickSeconds),
            (nameof(PrepareSeconds), PrepareSeconds), (nameof(StartSeconds), StartSeconds),
            (nameof(CheckpointGraceSeconds), CheckpointGraceSeconds), (nameof(BackoffSeconds), BackoffSeconds),
        })
        {
            if (!(value > 0))
            {
                yield return new Violation(name, $"Expected more than 0, found {value}.");
            }
        }

        foreach (var (kind, price) in DevicePricePerHour.Where(entry => !(entry.Value >= 0)))
        {
            yield return new Violation($"{nameof(DevicePricePerHour)}:{kind}", $"Expected 0 or more, found {price}.");
        }

        if (!PlacementPolicies.Names.Contains(PlacementPolicy))
        {
            yield return new Violation(nameof(PlacementPolicy), $"Expected one of {string.Join(", ", PlacementPolicies.Names)}, found '{PlacementPolicy}'.");
        }

        foreach (var (name, value) in new[] { (nameof(PreemptionMinRuntimeSeconds), PreemptionMinRuntimeSeconds), (nameof(ElasticMinRuntimeSeconds), ElasticMinRuntimeSeconds) })
        {
            if (!(value >= 0))
            {
                yield return new Violation(name, $"Expected 0 or more, found {value}.");
            }
        }

        if (!(FailedCheckpointHours >= 0 && FailedCheckpointHours <= 1e6))
        {
            yield return new Violation(nameof(FailedCheckpointHours), $"Expected 0 to 1000000, found {FailedCheckpointHours}.");
        }

        if (LeaseSkewSeconds < 0)
        {
            yield return new Violation(nameof(LeaseSkewSeconds), $"Expected 0 or more, found {LeaseSkewSeconds}.");
        }
    }

    internal ControlOptions Control => new()
    {
        Lease = TimeSpan.FromSeconds(LeaseSeconds),
        LeaseSkew = TimeSpan.FromSeconds(LeaseSkewSeconds),
        PredictRuntimes = PredictRuntimes,
        DevicePricePerHour = DevicePricePerHour,
        Cycle = new CycleOptions
        {
            Policy = PlacementPolicy,
            Preemption = Preemption,
            MinRuntime = TimeSpan.FromSeconds(PreemptionMinRuntimeSeconds),
            Backfill = Backfill,
            Elastic = Elastic,
            ElasticMinRuntime = TimeSpan.FromSeconds(ElasticMinRuntimeSeconds),
        },
        Capacity = Capacity.Decision,
        Gangs = new GangTimeouts
        {
            Prepare = TimeSpan.FromSeconds(PrepareSeconds),
            Start = TimeSpan.FromSeconds(StartSeconds),
            CheckpointGrace = TimeSpan.FromSeconds(CheckpointGraceSeconds),
            BackoffBase = TimeSpan.FromSeconds(BackoffSeconds),
        },
    };
}
