namespace Platform.Core.Gangs;

/// <summary>What a member does about an attempt. The order is that of its life; it never goes back.</summary>
public enum MemberPhase
{
    /// <summary>Devices are reserved and checks run.</summary>
    Preparing,

    /// <summary>Ready to start.</summary>
    Prepared,

    /// <summary>Ranks run.</summary>
    Running,

    /// <summary>Every rank of this node ended well; devices are still held.</summary>
    Succeeded,

    /// <summary>It cannot prepare, a rank failed, or it was fenced; see the failure. Ranks are being stopped.</summary>
    Failed,

    /// <summary>No process of the attempt is left on the node and its devices are free.</summary>
    Released,
}

/// <summary>Why a member, an attempt or a job failed.</summary>
public enum FailureCode
{
    /// <summary>A rank's process ended with an error.</summary>
    RankExited,

    /// <summary>A rank stopped taking part in a collective.</summary>
    RankHung,

    /// <summary>A rank could not be started.</summary>
    LaunchFailed,

    /// <summary>The node's lease ran out.</summary>
    NodeLost,

    /// <summary>Devices were not free or not healthy.</summary>
    DevicesUnavailable,

    /// <summary>Data, tokenizer, model or checkpoint cannot be read.</summary>
    InputUnreadable,

    /// <summary>Not every member was prepared in time.</summary>
    PrepareTimeout,

    /// <summary>Not every rank joined the rendezvous in time.</summary>
    StartTimeout,

    /// <summary>A checkpoint is damaged.</summary>
    CheckpointCorrupt,

    /// <summary>The loss or a gradient is not finite.</summary>
    Diverged,

    /// <summary>Something else that the rank reported.</summary>
    WorkloadError,

    /// <summary>The attempt or its scheduler's epoch is over.</summary>
    Stale,
}

/// <summary>One reason for a failure.</summary>
public sealed record GangFailure
{
    /// <summary>Kind of failure.</summary>
    public required FailureCode Code { get; init; }

    /// <summary>What happened, as a sentence.</summary>
    public required string Message { get; init; }

    /// <summary>Culprit rank, if one is known.</summary>
    public int? Rank { get; init; }

    /// <summary>Culprit node, if one is known.</summary>
    public string? Node { get; init; }

    /// <summary>Last lines of the culprit's log.</summary>
    public IReadOnlyList<string> LogTail { get; init; } = [];

    /// <summary>Trying again cannot help (bad data, a wrong configuration).</summary>
    public bool IsPermanent { get; init; }

    /// <summary>The checkpoint that could not be read, with <see cref="FailureCode.CheckpointCorrupt"/>; relative to the artifact root.</summary>
    public string? Checkpoint { get; init; }
}

/// <summary>
/// What a member says about an attempt: on the bus when it changes, and again with each lease renewal until the
/// scheduler no longer wants the attempt and the agent forgets it.
/// </summary>
public sealed record GangMemberReport
{
    /// <summary>Node that reports.</summary>
    public required string Node { get; init; }

    /// <summary>Run of the agent that reports.</summary>
    public required string Incarnation { get; init; }

    /// <summary>Highest scheduler epoch the agent knows.</summary>
    public required long Epoch { get; init; }

    /// <summary>Gang.</summary>
    public required string Gang { get; init; }

    /// <summary>Attempt.</summary>
    public required int Attempt { get; init; }

    /// <summary>How far it is.</summary>
    public required MemberPhase Phase { get; init; }

    /// <summary>Address of the rendezvous this member opened, from <see cref="MemberPhase.Prepared"/> on.</summary>
    public string? RendezvousAddress { get; init; }

    /// <summary>Why it failed; set with <see cref="MemberPhase.Failed"/> and kept with the <see cref="MemberPhase.Released"/> after it.</summary>
    public GangFailure? Failure { get; init; }

    /// <summary>Process ids by rank, once they run.</summary>
    public IReadOnlyDictionary<int, int> ProcessIds { get; init; } = new Dictionary<int, int>();

    /// <summary>Address of the replica's engine, once it is ready.</summary>
    public string? ReplicaEndpoint { get; init; }

    /// <summary>What its ranks were doing when it was told to stop; empty unless they stood still.</summary>
    public IReadOnlyList<RankStall> Stalls { get; init; } = [];
}

/// <summary>One optimizer step as the ranks saw it.</summary>
/// <param name="Step">Step, from 1.</param>
/// <param name="Loss">Mean over the global batch's tokens before the update, in nats.</param>
/// <param name="GradNorm">L2 norm of the whole gradient before clipping.</param>
/// <param name="TokensPerSecond">Tokens of the global batch over the step's wall time.</param>
/// <param name="LearningRate">Learning rate of the update.</param>
/// <param name="StepSeconds">Wall time of the step.</param>
/// <param name="EvalLoss">Held-out loss, if this step evaluated.</param>
public sealed record StepMetrics(
    int Step, double Loss, double GradNorm, double TokensPerSecond, double LearningRate, double StepSeconds, double? EvalLoss = null)
{
    /// <summary>Where the time went, mean over ranks.</summary>
    public StepParts? Parts { get; init; }

    /// <summary>Model FLOPs of the step over what the devices could have done in its time.</summary>
    public double? ModelFlopsUtilization { get; init; }

    /// <summary>Steps so far whose loss or gradient was not finite, or a spike: weights were not updated.</summary>
    public int SkippedSteps { get; init; }

    /// <summary>What the ranks have measured so far; on some steps only.</summary>
    public RunMeasurement? Measurement { get; init; }
}

/// <summary>Progress of an attempt, batched by the agent of rank 0. Losing one costs a few points until the next.</summary>
public sealed record GangProgressReport
{
    /// <summary>Node that reports.</summary>
    public required string Node { get; init; }

    /// <summary>Gang.</summary>
    public required string Gang { get; init; }

    /// <summary>Attempt.</summary>
    public required int Attempt { get; init; }

    /// <summary>What the ranks do: preparing, tokenizing, training, saving, exporting, serving.</summary>
    public required string Phase { get; init; }

    /// <summary>Share of the phase that is done, [0, 1], where it can be told.</summary>
    public double? PhaseFraction { get; init; }

    /// <summary>Steps since the last report that is known to have arrived; repeats are harmless.</summary>
    public IReadOnlyList<StepMetrics> Points { get; init; } = [];
}
