using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Gangs;

/// <summary>Something that happened to a gang. Any of them may come twice, late, or not at all.</summary>
public abstract record GangEvent
{
    private GangEvent()
    {
    }

    /// <summary>A cycle found devices for the whole gang.</summary>
    /// <param name="Placement">The devices.</param>
    /// <param name="Token">Secret of the attempt.</param>
    /// <param name="TraceParent">W3C context of the decision.</param>
    public sealed record Placed(GangPlacement Placement, string Token, string? TraceParent) : GangEvent
    {
        /// <summary>Price of each of the devices for an hour; null when none is configured.</summary>
        public double? PricePerHour { get; init; }
    }

    /// <summary>Others make room for it, which is kept for it until a time.</summary>
    /// <param name="Placement">The places.</param>
    /// <param name="Until">When they are no longer kept.</param>
    public sealed record Nominated(GangPlacement Placement, DateTimeOffset Until) : GangEvent;

    /// <summary>A member said how far it is.</summary>
    /// <param name="Report">What it said.</param>
    public sealed record MemberReported(GangMemberReport Report) : GangEvent;

    /// <summary>The agent of a node runs anew and no longer knows the attempt.</summary>
    /// <param name="Node">The node.</param>
    public sealed record MemberForgotten(string Node) : GangEvent;

    /// <summary>A node's lease ran out: its processes are as good as lost, but may live a little longer.</summary>
    /// <param name="Node">The node.</param>
    public sealed record NodeExpired(string Node) : GangEvent;

    /// <summary>A node's lease ran out so long ago that its agent has killed its processes.</summary>
    /// <param name="Node">The node.</param>
    public sealed record NodeGone(string Node) : GangEvent;

    /// <summary>A rank asks to make a checkpoint exist.</summary>
    /// <param name="Attempt">Attempt that wrote it.</param>
    /// <param name="Step">Step after which it was taken.</param>
    /// <param name="Directory">Directory, relative to the artifact root.</param>
    /// <param name="ManifestSha256">Hash of its manifest.</param>
    /// <param name="Cost">What it cost; null when its writer did not say.</param>
    public sealed record CheckpointWritten(int Attempt, int Step, string Directory, string ManifestSha256, CheckpointCost? Cost = null) : GangEvent;

    /// <summary>Its owner wants it to end.</summary>
    public sealed record CancelRequested : GangEvent;

    /// <summary>Its owner wants it to stop for now.</summary>
    public sealed record PauseRequested : GangEvent;

    /// <summary>Its owner wants it to go on.</summary>
    public sealed record ResumeRequested : GangEvent;

    /// <summary>It has to leave its devices and be queued again, through no fault of its own.</summary>
    /// <param name="Reason">Why, as a sentence.</param>
    public sealed record YieldRequested(string Reason) : GangEvent
    {
        /// <summary>When it must have left; null for the usual grace.</summary>
        public DateTimeOffset? Until { get; init; }
    }

    /// <summary>It is to go on at another data-parallel width, from a checkpoint; its places are kept for it until a time.</summary>
    /// <param name="Resize">Widths and places.</param>
    /// <param name="Until">When the places are no longer kept.</param>
    /// <param name="Reason">Why, as a sentence.</param>
    public sealed record ResizeRequested(GangResize Resize, DateTimeOffset Until, string Reason) : GangEvent;

    /// <summary>Its owner changed what it is to do. A gang that runs saves and goes on from there in the new form.</summary>
    /// <param name="Revision">The new form.</param>
    /// <param name="What">What changed, in words.</param>
    public sealed record Revised(GangRevision Revision, string What) : GangEvent;

    /// <summary>Time passed.</summary>
    public sealed record Tick : GangEvent;
}

/// <summary>What has to be done after an event.</summary>
public abstract record GangEffect
{
    private GangEffect()
    {
    }

    /// <summary>What is wanted of a node changed; <see cref="GangCoordinator.Assignments"/> says to what.</summary>
    /// <param name="Node">The node.</param>
    public sealed record AssignmentChanged(string Node) : GangEffect;

    /// <summary>A member's devices are free.</summary>
    /// <param name="Node">Its node.</param>
    public sealed record DevicesReleased(string Node) : GangEffect;

    /// <summary>An attempt is over.</summary>
    /// <param name="Attempt">The attempt as it ended.</param>
    /// <param name="Outcome">What followed.</param>
    public sealed record AttemptEnded(AttemptState Attempt, StopOutcome Outcome) : GangEffect;

    /// <summary>A checkpoint was committed, or had been before.</summary>
    /// <param name="Checkpoint">The checkpoint, with what it made superfluous.</param>
    public sealed record CheckpointCommitted(CommittedCheckpoint Checkpoint) : GangEffect;

    /// <summary>A request was refused and nothing changed.</summary>
    /// <param name="Reason">Why, as a sentence.</param>
    public sealed record Refused(string Reason) : GangEffect;

    /// <summary>The gang came to its final stage.</summary>
    public sealed record Finished : GangEffect;
}

/// <summary>Limits of time of a gang's phases.</summary>
public sealed record GangTimeouts
{
    /// <summary>From placement until every member is prepared.</summary>
    public TimeSpan Prepare { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>From start until every member runs; a replica loads its model in this time.</summary>
    public TimeSpan Start { get; init; } = TimeSpan.FromSeconds(180);

    /// <summary>From the first member that succeeded until all have.</summary>
    public TimeSpan Finish { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>For ranks to stop by themselves after a failure or a cancellation.</summary>
    public TimeSpan StopGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>For ranks to write a checkpoint and stop when they pause or make room.</summary>
    public TimeSpan CheckpointGrace { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Wait after the first failure; it doubles with each one in a row.</summary>
    public TimeSpan BackoffBase { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest wait.</summary>
    public TimeSpan BackoffLimit { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Failures in a row before ranks were started after which the gang is given up.</summary>
    public int MaxUnstartedAttempts { get; init; } = 20;
}
