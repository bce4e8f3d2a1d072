using System.Text.Json.Serialization;
using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Gangs;

/// <summary>How far a gang is.</summary>
public enum GangStage
{
    /// <summary>Waits for devices.</summary>
    Queued,

    /// <summary>Devices are held; members reserve and check.</summary>
    Preparing,

    /// <summary>Every member is prepared; ranks are being started.</summary>
    Starting,

    /// <summary>Every member runs its ranks; a replica is ready.</summary>
    Running,

    /// <summary>Members stop and release.</summary>
    Stopping,

    /// <summary>Kept out of the queue by its owner.</summary>
    Paused,

    /// <summary>Done. Final.</summary>
    Succeeded,

    /// <summary>Given up. Final.</summary>
    Failed,

    /// <summary>Cancelled by its owner. Final.</summary>
    Cancelled,
}

/// <summary>What a gang becomes once every member has released.</summary>
public enum StopOutcome
{
    /// <summary>Queued again, after a failure.</summary>
    Requeue,

    /// <summary>Queued again without blame: it made room, or its node is drained.</summary>
    Yield,

    /// <summary>Paused.</summary>
    Pause,

    /// <summary>Failed for good.</summary>
    Fail,

    /// <summary>Cancelled.</summary>
    Cancel,

    /// <summary>Succeeded.</summary>
    Succeed,
}

/// <summary>What is known of one member of an attempt.</summary>
/// <param name="Node">Its node.</param>
/// <param name="Ranks">Its ranks and their devices.</param>
public sealed record MemberState(string Node, IReadOnlyList<RankPlacement> Ranks)
{
    /// <summary>The furthest phase reported; null before the first report.</summary>
    public MemberPhase? Phase { get; init; }

    /// <summary>Run of the agent that reported it.</summary>
    public string? Incarnation { get; init; }

    /// <summary>Its devices are free: it said so, or its node has been silent for longer than its processes can live.</summary>
    public bool Released { get; init; }

    /// <summary>Process ids by rank.</summary>
    public IReadOnlyDictionary<int, int> ProcessIds { get; init; } = new Dictionary<int, int>();

    /// <summary>Address of the replica's engine, once it is ready.</summary>
    public string? ReplicaEndpoint { get; init; }

    /// <summary>What its ranks were doing when it was told to stop; empty unless they stood still.</summary>
    public IReadOnlyList<RankStall> Stalls { get; init; } = [];
}

/// <summary>One try at running the whole gang.</summary>
public sealed record AttemptState
{
    /// <summary>Number, from 1.</summary>
    public required int Number { get; init; }

    /// <summary>Secret that ranks show each other.</summary>
    public required string Token { get; init; }

    /// <summary>Members, that of rank 0 first.</summary>
    public required IReadOnlyList<MemberState> Members { get; init; }

    /// <summary>Checkpoint directory it resumes from; null to begin at step 0.</summary>
    public string? ResumeFrom { get; init; }

    /// <summary>When it was placed.</summary>
    public required DateTimeOffset PlacedAt { get; init; }

    /// <summary>Whether its queue was beyond its own quota with it.</summary>
    public bool Borrows { get; init; }

    /// <summary>Price of each of its devices for an hour when they were given; null when none was configured.</summary>
    public double? PricePerHour { get; init; }

    /// <summary>Whether members were told to start: only such attempts use up restarts.</summary>
    public bool Started { get; init; }

    /// <summary>When all members ran; null before.</summary>
    public DateTimeOffset? RunningAt { get; init; }

    /// <summary>When its devices were all released; null before.</summary>
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>When its phase must be over; null for no limit.</summary>
    public DateTimeOffset? Deadline { get; init; }

    /// <summary>Address of its rendezvous.</summary>
    public string? RendezvousAddress { get; init; }

    /// <summary>What follows once it has stopped; set while stopping and after.</summary>
    public StopOutcome? Outcome { get; init; }

    /// <summary>Why it is being stopped.</summary>
    public string? StopReason { get; init; }

    /// <summary>What its ranks have to save and stop in, when that is not the usual grace.</summary>
    public TimeSpan? Grace { get; init; }

    /// <summary>Everything that went wrong in it, in the order in which it became known.</summary>
    public IReadOnlyList<GangFailure> Failures { get; init; } = [];

    /// <summary>W3C context of the decision to place it.</summary>
    public string? TraceParent { get; init; }

    /// <summary>Ranks of the attempt: an elastic gang may run with fewer than its shape has.</summary>
    [JsonIgnore]
    public int WorldSize => Members.Sum(member => member.Ranks.Count);

    /// <summary>Devices that it was given, all of which count as held until the last of them is free.</summary>
    [JsonIgnore]
    public Holding Held => new(Members.Sum(member => member.Ranks.Sum(rank => (long)rank.Devices.Count * rank.DeviceMilli)), PricePerHour, PlacedAt);

    /// <summary>Whether every member's devices are free.</summary>
    [JsonIgnore]
    public bool IsReleased => Members.All(member => member.Released);
}

/// <summary>Places that others leave for a gang.</summary>
/// <param name="Placement">The places.</param>
/// <param name="Until">When they are no longer kept for it.</param>
public sealed record Nomination(GangPlacement Placement, DateTimeOffset Until);

/// <summary>What the next attempt of a gang is to do instead.</summary>
/// <param name="Workload">The work as JSON.</param>
/// <param name="Shape">What it needs.</param>
public sealed record GangRevision(string Workload, GangShape Shape);

/// <summary>Something that its owner or the scheduler did to a gang.</summary>
/// <param name="Time">When.</param>
/// <param name="Kind">What was done.</param>
/// <param name="Message">One sentence.</param>
public sealed record GangNote(DateTimeOffset Time, GangNoteKind Kind, string Message);

/// <summary>Kinds of <see cref="GangNote"/>. In the API these are the names in upper snake case.</summary>
public enum GangNoteKind
{
    /// <summary>It left its devices: others needed them, or a node was drained.</summary>
    Yielded,

    /// <summary>It went on at a smaller data-parallel width.</summary>
    Narrowed,

    /// <summary>It went on at a greater data-parallel width.</summary>
    Widened,

    /// <summary>Its owner changed what it is to do.</summary>
    Updated,

    /// <summary>Its owner stopped it for now.</summary>
    Paused,

    /// <summary>Its owner let it go on.</summary>
    Resumed,
}

/// <summary>Why an earlier attempt failed.</summary>
/// <param name="Attempt">The attempt.</param>
/// <param name="Failure">What went wrong first.</param>
/// <param name="Time">When it ended.</param>
public sealed record PastFailure(int Attempt, GangFailure Failure, DateTimeOffset Time);

/// <summary>A checkpoint that exists.</summary>
/// <param name="Attempt">Attempt that wrote it.</param>
/// <param name="Step">Step after which it was taken.</param>
/// <param name="Directory">Directory, relative to the artifact root.</param>
/// <param name="ManifestSha256">Hash of its manifest.</param>
/// <param name="CommittedAt">When it was committed.</param>
/// <param name="Expires">Directories that its commit made superfluous.</param>
public sealed record CommittedCheckpoint(
    int Attempt, int Step, string Directory, string ManifestSha256, DateTimeOffset CommittedAt, IReadOnlyList<string> Expires)
{
    /// <summary>What it cost; null when its writer did not say.</summary>
    public CheckpointCost? Cost { get; init; }
}

/// <summary>Everything the control plane knows of a gang. A value: each change makes a new one.</summary>
public sealed record GangState
{
    /// <summary>Gang: <c>jobs/{job}</c> or <c>replicas/{replica}</c>.</summary>
    public required string Gang { get; init; }

    /// <summary>Project it belongs to.</summary>
    public required string Project { get; init; }

    /// <summary>Who submitted it, for accounting.</summary>
    public string User { get; init; } = "default";

    /// <summary>Deployment that it is a replica of; null for a job.</summary>
    public string? Deployment { get; init; }

    /// <summary>What runs.</summary>
    public required WorkloadKind Kind { get; init; }

    /// <summary>The work as JSON, handed to its ranks.</summary>
    public required string Workload { get; init; }

    /// <summary>What it needs.</summary>
    public required GangShape Shape { get; init; }

    /// <summary>Tenant queue.</summary>
    public string Queue { get; init; } = "default";

    /// <summary>Higher goes first.</summary>
    public int Priority { get; init; }

    /// <summary>Attempts after the first that may fail.</summary>
    public int MaxRestarts { get; init; }

    /// <summary>How long it is expected to run; null when that is not known.</summary>
    public TimeSpan? ExpectedRuntime { get; init; }

    /// <summary>How long the planner predicted at its submission that it runs; null when it could not.</summary>
    public TimeSpan? PredictedRuntime { get; init; }

    /// <summary>Places that others leave for it while it waits; null for none.</summary>
    public Nomination? Nomination { get; init; }

    /// <summary>Checkpoints kept.</summary>
    public int KeepCheckpoints { get; init; } = 2;

    /// <summary>When it was submitted.</summary>
    public required DateTimeOffset SubmittedAt { get; init; }

    /// <summary>W3C context of the call that submitted it.</summary>
    public string? TraceParent { get; init; }

    /// <summary>How far it is.</summary>
    public GangStage Stage { get; init; }

    /// <summary>One sentence: why it is there.</summary>
    public string StageReason { get; init; } = "";

    /// <summary>Since when.</summary>
    public required DateTimeOffset StageSince { get; init; }

    /// <summary>The current or last attempt; null before the first.</summary>
    public AttemptState? Attempt { get; init; }

    /// <summary>Attempts that failed and were tried again.</summary>
    public int Restarts { get; init; }

    /// <summary>Of those, the ones whose ranks had been started; <see cref="MaxRestarts"/> bounds these.</summary>
    public int CountedRestarts { get; init; }

    /// <summary>Attempts that failed in a row without a new checkpoint.</summary>
    public int ConsecutiveFailures { get; init; }

    /// <summary>Not to be placed before this time.</summary>
    public DateTimeOffset? NotBefore { get; init; }

    /// <summary>Reasons of the attempts that were tried again, oldest first; the last twenty.</summary>
    public IReadOnlyList<PastFailure> PastFailures { get; init; } = [];

    /// <summary>Why it failed for good.</summary>
    public PastFailure? Failure { get; init; }

    /// <summary>Checkpoints that exist, in the order of their commits.</summary>
    public IReadOnlyList<CommittedCheckpoint> Checkpoints { get; init; } = [];

    /// <summary>Directories of checkpoints that existed and could not be read, oldest first; the last twenty.</summary>
    public IReadOnlyList<string> UnreadableCheckpoints { get; init; } = [];

    /// <summary>What the next attempt is to do instead; null for the same.</summary>
    public GangRevision? Revision { get; init; }

    /// <summary>What was done to it, oldest first; the last twenty.</summary>
    public IReadOnlyList<GangNote> Notes { get; init; } = [];

    /// <summary>When ranks first ran.</summary>
    public DateTimeOffset? FirstRunningAt { get; init; }

    /// <summary>When it came to its final stage.</summary>
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Whether it will never change again.</summary>
    [JsonIgnore]
    public bool IsTerminal => Stage is GangStage.Succeeded or GangStage.Failed or GangStage.Cancelled;

    /// <summary>Whether members hold devices.</summary>
    [JsonIgnore]
    public bool IsActive => Stage is GangStage.Preparing or GangStage.Starting or GangStage.Running or GangStage.Stopping;

    /// <summary>Checkpoint from which the next attempt resumes.</summary>
    [JsonIgnore]
    public CommittedCheckpoint? LatestCheckpoint => Checkpoints.Count > 0 ? Checkpoints[^1] : null;

    /// <summary>Nodes that the next attempt avoids if it can: those of the failures since the last progress.</summary>
    [JsonIgnore]
    public IReadOnlyList<string> AvoidNodes =>
        [.. PastFailures.TakeLast(Math.Min(ConsecutiveFailures, 3)).Where(past => past.Failure.Code != FailureCode.CheckpointCorrupt)
            .Select(past => past.Failure.Node).OfType<string>().Distinct()];
}
