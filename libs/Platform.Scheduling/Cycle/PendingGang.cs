using System.Text.Json.Serialization;
using Platform.Core.Deployments;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>What a gang needs of the cluster.</summary>
public sealed record GangShape
{
    /// <summary>Its ranks and how they are grouped.</summary>
    public required DeviceMesh Mesh { get; init; }

    /// <summary>Kind of device: <c>cpu</c> or <c>cuda</c>.</summary>
    public required string DeviceKind { get; init; }

    /// <summary>Devices of each rank.</summary>
    public int DevicesPerRank { get; init; } = 1;

    /// <summary>Thousandths of each of those devices, 1 to 1000.</summary>
    public int DeviceMilli { get; init; } = 1000;

    /// <summary>Device memory that a rank's share must hold; null for no claim.</summary>
    public long? DeviceMemoryBytes { get; init; }

    /// <summary>Host memory of each rank; null for no claim.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>Level within which each tensor group must stay: <c>node</c>, <c>block</c>, <c>rack</c> or <c>zone</c>.</summary>
    public string TensorTopology { get; init; } = "node";

    /// <summary>Level within which each data group must stay; null for as near as possible.</summary>
    public string? DataTopology { get; init; }

    /// <summary>Level within which each pipeline group must stay; null for as near as possible.</summary>
    public string? PipelineTopology { get; init; }

    /// <summary>Data-parallel widths below that of <see cref="Mesh"/> at which an elastic gang may run, widest first.</summary>
    public IReadOnlyList<int> NarrowerData { get; init; } = [];

    /// <summary>Whether nodes that can be taken away at short notice will do.</summary>
    public bool AllowsSpot { get; init; }

    /// <summary>Node group that its ranks must be on; null for any.</summary>
    public string? NodeGroup { get; init; }

    /// <summary>The gang whose own cluster its ranks must be on; null for the shared cluster.</summary>
    public string? Cluster { get; init; }

    /// <summary>The shape of a training job with its widths resolved; an elastic one at the widest of them.</summary>
    public static GangShape Of(TrainingJobSpec spec) => Of(spec, ElasticSpec.WidthsOf(spec));

    private static GangShape Of(TrainingJobSpec spec, IReadOnlyList<int> widths) => new()
    {
        Mesh = new DeviceMesh(spec.Parallelism.Tensor, spec.Parallelism.Pipeline, widths[0]),
        NarrowerData = [.. widths.Skip(1)],
        DeviceKind = spec.Resources.Device,
        DeviceMilli = spec.Resources.DeviceMilli,
        DeviceMemoryBytes = spec.Resources.DeviceMemoryBytes,
        MemoryBytes = spec.Resources.MemoryBytes,
        TensorTopology = spec.Resources.TensorTopology,
        DataTopology = spec.Resources.DataTopology,
        PipelineTopology = spec.Resources.PipelineTopology,
        AllowsSpot = spec.Resources.AllowsSpot,
        NodeGroup = spec.Resources.NodeGroup,
        Cluster = spec.Resources.Ephemeral ? spec.Name : null,
    };

    /// <summary>The shape of a gang that runs a program: its ranks are one group.</summary>
    public static GangShape Of(CommandJobSpec spec) => new()
    {
        Mesh = new DeviceMesh(1, 1, spec.Ranks),
        DeviceKind = spec.Resources.Device,
        DevicesPerRank = spec.DevicesPerRank,
        DeviceMilli = spec.Resources.DeviceMilli,
        DeviceMemoryBytes = spec.Resources.DeviceMemoryBytes,
        MemoryBytes = spec.Resources.MemoryBytes,
        DataTopology = spec.Resources.DataTopology,
        AllowsSpot = spec.Resources.AllowsSpot,
        NodeGroup = spec.Resources.NodeGroup,
        Cluster = spec.Resources.Ephemeral ? spec.Name : null,
    };

    /// <summary>The shape of one replica of a deployment: one rank for each member of its tensor group.</summary>
    public static GangShape Of(DeploymentSpec spec) => new()
    {
        Mesh = new DeviceMesh(spec.Scaling.TensorParallel, 1, 1),
        DeviceKind = spec.Scaling.Device,
        DevicesPerRank = Math.Max(1, spec.Scaling.DevicesPerReplica / spec.Scaling.TensorParallel),
        DeviceMilli = spec.Scaling.DeviceMilli,
    };

    /// <summary>The shape at each width at which the gang may run, widest first.</summary>
    public IEnumerable<GangShape> AtEachWidth() =>
        NarrowerData.Select(width => this with { Mesh = Mesh with { Data = width }, NarrowerData = [] }).Prepend(this with { NarrowerData = [] });

    /// <summary>The shape at those of its widths that hold so many thousandths of devices; at the narrowest when none does.</summary>
    public GangShape AtMost(long milli)
    {
        if (NarrowerData.Count == 0)
        {
            return this;
        }

        List<int> widths = [.. AtEachWidth().Where(shape => (long)shape.DeviceSlots * DeviceMilli <= milli).Select(shape => shape.Mesh.Data)];
        return widths.Count == 0 ? Narrowest() : this with { Mesh = Mesh with { Data = widths[0] }, NarrowerData = [.. widths.Skip(1)] };
    }

    /// <summary>The shape at its narrowest width: what must be free for the gang to run at all.</summary>
    public GangShape Narrowest() => AtEachWidth().Last();

    /// <summary>Devices (whole or shares) that the gang occupies.</summary>
    public int DeviceSlots => Mesh.WorldSize * DevicesPerRank;

    /// <summary>What each rank needs of its node.</summary>
    [JsonIgnore]
    public RankRequest Rank => new()
    {
        DeviceKind = DeviceKind,
        Devices = DevicesPerRank,
        DeviceMilli = DeviceMilli,
        DeviceMemoryBytes = DeviceMemoryBytes ?? 0,
        MemoryBytes = MemoryBytes ?? 0,
        AllowsSpot = AllowsSpot,
        NodeGroup = NodeGroup ?? "",
        Cluster = Cluster ?? "",
    };
}

/// <summary>A gang that waits for devices.</summary>
public sealed record PendingGang
{
    /// <summary>Gang.</summary>
    public required string Gang { get; init; }

    /// <summary>What it needs.</summary>
    public required GangShape Shape { get; init; }

    /// <summary>Tenant queue.</summary>
    public string Queue { get; init; } = "default";

    /// <summary>Higher goes first.</summary>
    public int Priority { get; init; }

    /// <summary>When it was submitted; earlier goes first among equals.</summary>
    public required DateTimeOffset SubmittedAt { get; init; }

    /// <summary>Not before this time, after a failed attempt; null for at once.</summary>
    public DateTimeOffset? NotBefore { get; init; }

    /// <summary>Nodes on which it failed, avoided when the rest of the cluster can hold it.</summary>
    public IReadOnlyList<string> AvoidNodes { get; init; } = [];

    /// <summary>How long it will run; null when that is not known.</summary>
    public TimeSpan? ExpectedRuntime { get; init; }

    /// <summary>Whether others may be asked to make room for it.</summary>
    public bool MayPreempt { get; init; } = true;

    /// <summary>Places that others leave for it; null for none.</summary>
    public GangPlacement? Nominated { get; init; }

    /// <summary>Whether it is a replica beyond those that its deployment wants at least.</summary>
    public bool Surplus { get; init; }

    /// <summary>Its rank among the gangs of its queue: it may ask only those with a lower one to make room.</summary>
    public int Standing => Preemption.Standing(Priority, Surplus);
}
