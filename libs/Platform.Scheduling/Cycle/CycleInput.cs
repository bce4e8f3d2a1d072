using Platform.Scheduling.Placement;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>A gang that holds devices.</summary>
public sealed record RunningGang
{
    /// <summary>Gang, devices that it holds still, in the form in which they were given.</summary>
    public required GangPlacement Placement { get; init; }

    /// <summary>What each of its ranks holds.</summary>
    public required RankRequest Rank { get; init; }

    /// <summary>Tenant queue.</summary>
    public string Queue { get; init; } = "default";

    /// <summary>Higher goes first.</summary>
    public int Priority { get; init; }

    /// <summary>When all its ranks ran; null before.</summary>
    public DateTimeOffset? RunningSince { get; init; }

    /// <summary>When its state was last saved; null when that would be lost with it.</summary>
    public DateTimeOffset? SavedAt { get; init; }

    /// <summary>When it will be over; null when that is not known.</summary>
    public DateTimeOffset? ExpectedEnd { get; init; }

    /// <summary>Whether it may be asked to make room: it runs, can be started again, and is not leaving already.</summary>
    public bool MayYield { get; init; }

    /// <summary>Whether its queue was beyond its own quota with it, when it was placed.</summary>
    public bool Borrows { get; init; }

    /// <summary>What it needs, at every width at which it may run; null when its width cannot be changed.</summary>
    public GangShape? Shape { get; init; }

    /// <summary>Places kept for it while it stops in order to go on at another width; null for none.</summary>
    public GangPlacement? Returns { get; init; }

    /// <summary>Whether it is a replica beyond those that its deployment wants at least.</summary>
    public bool Surplus { get; init; }

    /// <summary>Its rank among the gangs of its queue: one makes room for another only when this is lower.</summary>
    public int Standing => Preemption.Standing(Priority, Surplus);

    /// <summary>Gang.</summary>
    public string Gang => Placement.Gang;

    /// <summary>Thousandths of devices that it holds.</summary>
    public long Milli => Placement.Members.Sum(member => (long)member.Ranks.Count) * Rank.TotalMilli;
}

/// <summary>Settings of the cycle.</summary>
public sealed record CycleOptions
{
    /// <summary>Placement policy; one of <see cref="PlacementPolicies.Names"/>.</summary>
    public string Policy { get; init; } = PlacementPolicies.Foresight;

    /// <summary>Whether gangs may be asked to make room for others.</summary>
    public bool Preemption { get; init; } = true;

    /// <summary>How long a gang runs at least before it may be asked to.</summary>
    public TimeSpan MinRuntime { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Whether elastic gangs give up data-parallel width for others, and take idle devices.</summary>
    public bool Elastic { get; init; } = true;

    /// <summary>How long an elastic gang runs at least at one width before it takes idle devices.</summary>
    public TimeSpan ElasticMinRuntime { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Whether gangs may start before one that goes first and has to wait, when they do not delay it.</summary>
    public bool Backfill { get; init; } = true;
}

/// <summary>Everything a cycle decides from.</summary>
public sealed record CycleInput
{
    /// <summary>Nodes and what of them is free.</summary>
    public required ClusterSnapshot Cluster { get; init; }

    /// <summary>Gangs that wait.</summary>
    public required IReadOnlyList<PendingGang> Waiting { get; init; }

    /// <summary>Gangs that hold devices; the snapshot has these taken already.</summary>
    public IReadOnlyList<RunningGang> Running { get; init; } = [];

    /// <summary>Queues that were set up; others have no quota and weight 1.</summary>
    public IReadOnlyList<QueueSpec> Queues { get; init; } = [];

    /// <summary>What queues used lately.</summary>
    public QueueHistory History { get; init; } = QueueHistory.Empty;

    /// <summary>What is usually asked for.</summary>
    public WorkloadMix Mix { get; init; } = WorkloadMix.Unknown;

    /// <summary>Settings.</summary>
    public CycleOptions Options { get; init; } = new();

    /// <summary>The queues with what running gangs use.</summary>
    public QueueLedger QueueLedger()
    {
        var capacity = Cluster.Nodes.SelectMany(node => node.Devices).GroupBy(device => device.Kind).ToDictionary(kind => kind.Key, kind => 1000L * kind.Count());
        var ledger = new QueueLedger(Queues, capacity, History);
        foreach (var gang in Running)
        {
            ledger.Add(gang.Queue, gang.Rank.DeviceKind, gang.Milli);
        }

        return ledger;
    }

    /// <summary>The nodes with the chosen policy.</summary>
    internal DeviceLedger DeviceLedger() => new(Cluster, nodes => PlacementPolicies.Create(Options.Policy, nodes, Mix));
}
