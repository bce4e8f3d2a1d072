using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <summary>Something the agent must do. Effects are carried out in the order in which they were returned.</summary>
public abstract record AgentEffect
{
    private AgentEffect()
    {
    }

    /// <summary>Make the epoch survive a restart before any later effect.</summary>
    /// <param name="Epoch">Epoch.</param>
    public sealed record PersistEpoch(long Epoch) : AgentEffect;

    /// <summary>Ask the scheduler what it wants of the node.</summary>
    public sealed record PullAssignments : AgentEffect;

    /// <summary>Check whether the attempt could run here; answered by <see cref="AgentEvent.PreflightFinished"/>.</summary>
    /// <param name="Assignment">What is to run.</param>
    public sealed record RunPreflight(GangAssignment Assignment) : AgentEffect;

    /// <summary>Open the attempt's rendezvous; answered by <see cref="AgentEvent.RendezvousOpened"/>.</summary>
    /// <param name="Assignment">What is to run.</param>
    public sealed record OpenRendezvous(GangAssignment Assignment) : AgentEffect;

    /// <summary>Start a rank; answered by <see cref="AgentEvent.RankStarted"/> or <see cref="AgentEvent.RankStartFailed"/>.</summary>
    /// <param name="Assignment">What is to run.</param>
    /// <param name="Placement">The rank and its devices.</param>
    public sealed record StartRank(GangAssignment Assignment, RankPlacement Placement) : AgentEffect;

    /// <summary>Ask the attempt's ranks to stop by themselves.</summary>
    /// <param name="Attempt">Attempt.</param>
    /// <param name="Reason">Why.</param>
    /// <param name="Grace">Time until they are killed.</param>
    /// <param name="Checkpoint">They should save their state first.</param>
    public sealed record AskRanksToStop(AttemptKey Attempt, string Reason, TimeSpan Grace, bool Checkpoint) : AgentEffect;

    /// <summary>Kill what is left of the attempt's ranks, at once.</summary>
    /// <param name="Attempt">Attempt.</param>
    public sealed record KillRanks(AttemptKey Attempt) : AgentEffect;

    /// <summary>No process of the attempt is left: close its rendezvous, delete its shared memory, forget its token.</summary>
    /// <param name="Attempt">Attempt.</param>
    public sealed record CleanUp(AttemptKey Attempt) : AgentEffect;

    /// <summary>Tell the scheduler; may be lost, since every lease renewal says it again.</summary>
    /// <param name="Report">State of the attempt.</param>
    public sealed record SendReport(GangMemberReport Report) : AgentEffect;
}
