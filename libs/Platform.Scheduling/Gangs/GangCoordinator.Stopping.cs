using Platform.Core.Gangs;

namespace Platform.Scheduling.Gangs;

/// <summary>How an attempt ends.</summary>
public static partial class GangCoordinator
{
    private const int KeptFailures = 20;

    /// <summary>The attempt failed: it is stopped, or, if it is being stopped, the failure may change what follows.</summary>
    private static (GangState, IReadOnlyList<GangEffect>) Fail(GangState state, GangFailure failure, DateTimeOffset now, GangTimeouts timeouts)
    {
        var attempt = state.Attempt!;
        bool repeated = attempt.Failures.Any(known => known.Code == failure.Code && known.Node == failure.Node && known.Rank == failure.Rank);
        if (repeated && state.Stage == GangStage.Stopping)
        {
            return (state, Nothing);
        }

        (state, failure) = Discard(state, failure);
        state = state with { Attempt = attempt with { Failures = repeated ? attempt.Failures : [.. attempt.Failures, failure] } };
        if (state.Stage != GangStage.Stopping)
        {
            return Stop(state, FailureOutcome(state, timeouts), failure.Message, now);
        }

        return state.Attempt.Outcome is StopOutcome.Requeue
            ? (state with { Attempt = state.Attempt with { Outcome = FailureOutcome(state, timeouts) } }, Nothing)
            : (state, Nothing);
    }

    private static StopOutcome FailureOutcome(GangState state, GangTimeouts timeouts)
    {
        var attempt = state.Attempt!;
        if (FellBack(state, attempt) && !attempt.Failures.Any(failure => failure.IsPermanent))
        {
            return state.Checkpoints.Count > 0 ? StopOutcome.Requeue : StopOutcome.Fail;
        }

        bool exhausted = attempt.Started ? state.CountedRestarts >= state.MaxRestarts : state.ConsecutiveFailures + 1 >= timeouts.MaxUnstartedAttempts;
        return exhausted || attempt.Failures.Any(failure => failure.IsPermanent) ? StopOutcome.Fail : StopOutcome.Requeue;
    }

    private static (GangState, IReadOnlyList<GangEffect>) Stop(GangState state, StopOutcome outcome, string reason, DateTimeOffset now)
    {
        state = state with { Attempt = state.Attempt! with { Outcome = outcome, StopReason = reason, Deadline = null } };
        string then = outcome switch
        {
            StopOutcome.Requeue or StopOutcome.Yield => "it will be queued again",
            StopOutcome.Pause => "it will be paused",
            StopOutcome.Fail => "it will fail",
            StopOutcome.Cancel => "it will be cancelled",
            _ => "it has succeeded",
        };
        return Changed(Enter(state, GangStage.Stopping, now, $"Attempt {state.Attempt.Number} stops ({reason.TrimEnd('.')}); {then}."));
    }

    private static (GangState, IReadOnlyList<GangEffect>) Cancel(GangState state, DateTimeOffset now) => state.Stage switch
    {
        GangStage.Queued or GangStage.Paused => Finish(state, GangStage.Cancelled, now, "Cancelled by its owner."),
        GangStage.Preparing or GangStage.Starting or GangStage.Running => Stop(state, StopOutcome.Cancel, "cancelled by its owner", now),
        GangStage.Stopping when state.Attempt!.Outcome is not StopOutcome.Succeed => Redirect(state, StopOutcome.Cancel, "cancelled by its owner", now),
        _ => (state, Nothing),
    };

    private static (GangState, IReadOnlyList<GangEffect>) Pause(GangState state, DateTimeOffset now)
    {
        var paused = Noted(state, GangNoteKind.Paused, "Its owner paused it.", now);
        return state.Stage switch
        {
            GangStage.Queued => (Enter(paused with { NotBefore = null }, GangStage.Paused, now, "Paused by its owner."), Nothing),
            GangStage.Preparing or GangStage.Starting or GangStage.Running => Stop(paused, StopOutcome.Pause, "paused by its owner", now),
            GangStage.Stopping when state.Attempt!.Outcome is StopOutcome.Requeue or StopOutcome.Yield => Redirect(paused, StopOutcome.Pause, "paused by its owner", now),
            _ => (state, Nothing),
        };
    }

    private static (GangState, IReadOnlyList<GangEffect>) Resume(GangState state, DateTimeOffset now)
    {
        var resumed = Noted(state, GangNoteKind.Resumed, "Its owner let it go on.", now);
        return state.Stage switch
        {
            GangStage.Paused => (Enter(resumed, GangStage.Queued, now, "Resumed by its owner; waits for devices."), Nothing),
            GangStage.Stopping when state.Attempt!.Outcome is StopOutcome.Pause => Redirect(resumed, StopOutcome.Yield, "resumed by its owner", now),
            _ => (state, Nothing),
        };
    }

    private static (GangState, IReadOnlyList<GangEffect>) Yield(GangState state, GangEvent.YieldRequested yielded, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (state.Stage is not (GangStage.Preparing or GangStage.Starting or GangStage.Running))
        {
            return (state, Nothing);
        }

        // Of the time that the node has left, its agent keeps what it needs to end ranks that do not stop.
        TimeSpan? grace = yielded.Until is { } until ? TimeSpan.FromSeconds(Math.Max(1, (until - now - timeouts.StopGrace).TotalSeconds)) : null;
        return Stop(Noted(state, GangNoteKind.Yielded, Sentence(yielded.Reason), now) with { Attempt = state.Attempt! with { Grace = grace } }, StopOutcome.Yield, yielded.Reason, now);
    }

    /// <summary>The members are stopping already; only what follows changes.</summary>
    private static (GangState, IReadOnlyList<GangEffect>) Redirect(GangState state, StopOutcome outcome, string reason, DateTimeOffset now)
    {
        var (stopping, _) = Stop(state, outcome, reason, now);
        return (stopping, Nothing);
    }

    private static (GangState, IReadOnlyList<GangEffect>) ConcludeIfReleased(GangState state, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (state.Stage != GangStage.Stopping || state.Attempt is not { IsReleased: true, Outcome: { } outcome } attempt)
        {
            return (state, Nothing);
        }

        attempt = attempt with { EndedAt = now };
        state = AsRevised(state with { Attempt = attempt });
        var (next, effects) = outcome switch
        {
            StopOutcome.Succeed => Finish(state, GangStage.Succeeded, now, "Every rank ended well."),
            StopOutcome.Cancel => Finish(state, GangStage.Cancelled, now, "Cancelled by its owner."),
            StopOutcome.Fail => GiveUp(state, attempt, now),
            StopOutcome.Pause => (Enter(state, GangStage.Paused, now, "Paused by its owner."), Nothing),
            StopOutcome.Yield => (Enter(state, GangStage.Queued, now, $"Waits for devices again ({attempt.StopReason})."), Nothing),
            _ => (Requeue(state, attempt, now, timeouts), Nothing),
        };
        return (next, [new GangEffect.AttemptEnded(attempt, outcome), .. effects]);
    }

    private static (GangState, IReadOnlyList<GangEffect>) Finish(GangState state, GangStage stage, DateTimeOffset now, string reason) =>
        (Enter(state with { EndedAt = now, NotBefore = null }, stage, now, reason), [new GangEffect.Finished()]);

    private static (GangState, IReadOnlyList<GangEffect>) GiveUp(GangState state, AttemptState attempt, DateTimeOffset now)
    {
        var failure = new PastFailure(attempt.Number, Culprit(attempt), now);
        return Finish(state with { Failure = failure }, GangStage.Failed, now, failure.Failure.Message);
    }

    private static GangState Requeue(GangState state, AttemptState attempt, DateTimeOffset now, GangTimeouts timeouts)
    {
        // A checkpoint that cannot be read is not the ranks' fault, and there are only so many of them to fall back to.
        bool blameless = FellBack(state, attempt);
        int failures = state.ConsecutiveFailures + (blameless ? 0 : 1);
        var wait = Backoff(Math.Max(1, failures), timeouts);
        var failure = Culprit(attempt);
        return Enter(
            state with
            {
                Restarts = state.Restarts + 1,
                CountedRestarts = state.CountedRestarts + (attempt.Started && !blameless ? 1 : 0),
                ConsecutiveFailures = failures,
                NotBefore = now + wait,
                PastFailures = [.. state.PastFailures.TakeLast(KeptFailures - 1), new PastFailure(attempt.Number, failure, now)],
            },
            GangStage.Queued, now, $"Attempt {attempt.Number} failed ({failure.Message.TrimEnd('.')}); tried again in {wait.TotalSeconds:0.#} s.");
    }

    /// <summary>Forgets the checkpoint that a rank could not read, so that the next attempt resumes from the one before; the reason says so.</summary>
    private static (GangState State, GangFailure Failure) Discard(GangState state, GangFailure failure)
    {
        if (failure is not { Code: FailureCode.CheckpointCorrupt, Checkpoint: { } directory } || !state.Checkpoints.Any(checkpoint => checkpoint.Directory == directory))
        {
            return (state, failure);
        }

        state = state with
        {
            Checkpoints = [.. state.Checkpoints.Where(checkpoint => checkpoint.Directory != directory)],
            UnreadableCheckpoints = [.. state.UnreadableCheckpoints.TakeLast(KeptFailures - 1), directory],
        };
        string next = state.LatestCheckpoint is { } before
            ? $"The job goes back to step {before.Step} ({before.Directory})."
            : "No other checkpoint is left to go back to.";
        return (state, failure with { Message = $"{failure.Message.TrimEnd('.')}. {next}" });
    }

    /// <summary>Whether the attempt ended because it could not read a checkpoint that has been discarded since.</summary>
    private static bool FellBack(GangState state, AttemptState attempt) => attempt.Failures.Any(
        failure => failure is { Code: FailureCode.CheckpointCorrupt, Checkpoint: { } directory } && state.UnreadableCheckpoints.Contains(directory));

    /// <summary>
    /// The failure to blame. Of a gang that hung, it is put together from what every node's agent knew of its ranks: the agent
    /// that noticed it first may not be that of the rank that stood still.
    /// </summary>
    private static GangFailure Culprit(AttemptState attempt)
    {
        var blamed = Blamed(attempt);
        if (blamed.Code != FailureCode.RankHung
            || HangDiagnosis.Of([.. attempt.Members.SelectMany(member => member.Stalls.Select(stall => (member.Node, stall)))]) is not { } diagnosis)
        {
            return blamed;
        }

        var own = attempt.Failures.FirstOrDefault(failure => failure.Rank == diagnosis.Rank && failure.LogTail.Count > 0);
        return diagnosis with { Node = diagnosis.Node ?? blamed.Node, LogTail = own?.LogTail ?? [] };
    }

    /// <summary>
    /// When one rank dies its peers fail a moment later because it is gone, and their reports may
    /// come first: so what cannot be a consequence goes before what can.
    /// </summary>
    private static GangFailure Blamed(AttemptState attempt) =>
        attempt.Failures.Where(failure => failure.IsPermanent).Concat(attempt.Failures.OrderBy(failure => failure.Code switch
        {
            FailureCode.CheckpointCorrupt or FailureCode.InputUnreadable or FailureCode.Diverged or FailureCode.LaunchFailed or FailureCode.NodeLost => 0,
            FailureCode.RankExited or FailureCode.DevicesUnavailable => 1,
            FailureCode.RankHung or FailureCode.PrepareTimeout or FailureCode.StartTimeout => 2,
            FailureCode.WorkloadError => 3,
            _ => 4,
        })).FirstOrDefault() ?? new GangFailure { Code = FailureCode.WorkloadError, Message = attempt.StopReason ?? "The attempt failed." };
}
