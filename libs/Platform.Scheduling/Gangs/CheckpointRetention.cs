namespace Platform.Scheduling.Gangs;

/// <summary>
/// When nobody can need the checkpoints of a job any more. A job that waits, runs or is paused resumes from them; one that
/// succeeded keeps the last ones as its owner asked (<c>checkpoint.keep</c>); one that failed for good or was cancelled never
/// resumes, so they only serve whoever wants to look into it, for a while.
/// </summary>
public static class CheckpointRetention
{
    /// <summary>Whether all checkpoints of a gang may be deleted.</summary>
    /// <param name="gang">The gang.</param>
    /// <param name="keptFor">How long those of jobs that failed or were cancelled are kept; zero for ever.</param>
    /// <param name="now">Time.</param>
    public static bool IsOver(GangState gang, TimeSpan keptFor, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(gang);
        return keptFor > TimeSpan.Zero && (gang.Stage is GangStage.Failed or GangStage.Cancelled) && gang.EndedAt is { } ended && now - ended >= keptFor;
    }
}
