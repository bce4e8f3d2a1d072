using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <summary>Something that happened to the agent.</summary>
public abstract record AgentEvent
{
    private AgentEvent()
    {
    }

    /// <summary>Time passed.</summary>
    public sealed record Tick : AgentEvent;

    /// <summary>The agent is about to end: everything stops, nothing new begins.</summary>
    public sealed record ShuttingDown : AgentEvent;

    /// <summary>An assignment came over the bus: maybe twice, late or out of order.</summary>
    /// <param name="Assignment">The assignment.</param>
    public sealed record AssignmentReceived(GangAssignment Assignment) : AgentEvent;

    /// <summary>The scheduler answered with everything it wants of the node.</summary>
    /// <param name="RequestedAt">When the question was sent.</param>
    /// <param name="Epoch">Epoch of the scheduler.</param>
    /// <param name="Version">Version of the answer.</param>
    /// <param name="Assignments">All assignments.</param>
    public sealed record AssignmentsPulled(
        DateTimeOffset RequestedAt, long Epoch, long Version, IReadOnlyList<GangAssignment> Assignments) : AgentEvent;

    /// <summary>The scheduler renewed the lease.</summary>
    /// <param name="SentAt">When the renewal was sent; the lease counts from there.</param>
    /// <param name="Epoch">Epoch of the scheduler.</param>
    /// <param name="Lease">Length of the lease.</param>
    /// <param name="DesiredVersion">Version of what the scheduler wants now.</param>
    public sealed record LeaseRenewed(DateTimeOffset SentAt, long Epoch, TimeSpan Lease, long DesiredVersion) : AgentEvent;

    /// <summary>The checks of an attempt are done.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Failure">What hinders it; null when nothing does.</param>
    public sealed record PreflightFinished(AttemptKey Attempt, GangFailure? Failure) : AgentEvent;

    /// <summary>The rendezvous of an attempt is open.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Address">Where.</param>
    public sealed record RendezvousOpened(AttemptKey Attempt, string Address) : AgentEvent;

    /// <summary>A rank's process runs.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Rank">Rank.</param>
    /// <param name="ProcessId">Its process id.</param>
    public sealed record RankStarted(AttemptKey Attempt, int Rank, int ProcessId) : AgentEvent;

    /// <summary>A rank's process could not be started.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Rank">Rank.</param>
    /// <param name="Message">Why.</param>
    public sealed record RankStartFailed(AttemptKey Attempt, int Rank, string Message) : AgentEvent;

    /// <summary>A rank's process has ended.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Rank">Rank.</param>
    /// <param name="ExitCode">Exit code; 128 + n when signal n killed it.</param>
    /// <param name="LogTail">Last lines of its log.</param>
    public sealed record RankExited(AttemptKey Attempt, int Rank, int ExitCode, IReadOnlyList<string> LogTail) : AgentEvent;

    /// <summary>A rank said that it fails, or its agent found it stuck.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Failure">Why.</param>
    public sealed record FailureReported(AttemptKey Attempt, GangFailure Failure) : AgentEvent;

    /// <summary>The ranks of an attempt that is being stopped had stood still.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Stalls">What each of them did.</param>
    public sealed record StallsObserved(AttemptKey Attempt, IReadOnlyList<RankStall> Stalls) : AgentEvent;

    /// <summary>A replica serves.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Endpoint">Address of its engine.</param>
    public sealed record ReplicaReady(AttemptKey Attempt, string Endpoint) : AgentEvent;
}
