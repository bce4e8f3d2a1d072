using Platform.Core.Gangs;

namespace Platform.Scheduling.Gangs;

/// <summary>
/// The life of a gang as a state machine without I/O. It tolerates events that are lost, doubled, late or out of order:
/// a member's phase only grows within an attempt, other attempts' events are ignored, and a gang's devices count as free
/// only when the member said so or its node has been silent for longer than its processes can live.
/// </summary>
public static partial class GangCoordinator
{
    private static readonly IReadOnlyList<GangEffect> Nothing = [];

    /// <summary>What becomes of a gang by an event, and what has to be done about it. An event that does not apply changes nothing.</summary>
    public static (GangState State, IReadOnlyList<GangEffect> Effects) Apply(
        GangState state, GangEvent happened, DateTimeOffset now, GangTimeouts timeouts) => happened switch
        {
            GangEvent.Placed placed => Place(state, placed, now, timeouts),
            GangEvent.Nominated nominated => (state.Stage == GangStage.Queued ? state with { Nomination = new Nomination(nominated.Placement, nominated.Until) } : state, Nothing),
            GangEvent.MemberReported reported => Report(state, reported.Report, now, timeouts),
            GangEvent.MemberForgotten forgotten => Forget(state, forgotten.Node, now, timeouts),
            GangEvent.NodeExpired expired => Expire(state, expired.Node, now, timeouts),
            GangEvent.NodeGone gone => Gone(state, gone.Node, now, timeouts),
            GangEvent.CheckpointWritten written => Commit(state, written, now),
            GangEvent.CancelRequested => Cancel(state, now),
            GangEvent.PauseRequested => Pause(state, now),
            GangEvent.ResumeRequested => Resume(state, now),
            GangEvent.YieldRequested yielded => Yield(state, yielded, now, timeouts),
            GangEvent.ResizeRequested resize => Resize(state, resize, now),
            GangEvent.Revised revised => Revise(state, revised, now),
            GangEvent.Tick => Tick(state, now, timeouts),
            _ => throw new ArgumentOutOfRangeException(nameof(happened), happened, "Expected an event of a gang."),
        };

    /// <summary>What the scheduler of an epoch wants of each node for this gang; a node that is not listed has nothing to do with it.</summary>
    public static IReadOnlyList<GangAssignment> Assignments(GangState state, long epoch, GangTimeouts timeouts)
    {
        if (!state.IsActive || state.Attempt is not { } attempt)
        {
            return [];
        }

        var phase = state.Stage switch
        {
            GangStage.Preparing => GangPhase.Prepare,
            GangStage.Stopping => GangPhase.Stop,
            _ => GangPhase.Start,
        };
        bool savesFirst = attempt.Outcome is StopOutcome.Pause or StopOutcome.Yield;
        return [.. attempt.Members.Where(member => !member.Released).Select(member => new GangAssignment
        {
            Node = member.Node,
            Gang = state.Gang,
            Attempt = attempt.Number,
            Epoch = epoch,
            Phase = phase,
            Ranks = member.Ranks,
            WorldSize = attempt.WorldSize,
            HostsRendezvous = HostsRendezvous(member),
            RendezvousAddress = phase == GangPhase.Prepare ? null : attempt.RendezvousAddress,
            Token = attempt.Token,
            Kind = state.Kind,
            Workload = state.Workload,
            ResumeFrom = attempt.ResumeFrom,
            StopReason = phase == GangPhase.Stop ? attempt.StopReason : null,
            StopGraceSeconds = (savesFirst ? attempt.Grace ?? timeouts.CheckpointGrace : timeouts.StopGrace).TotalSeconds,
            TraceParent = attempt.TraceParent,
        })];
    }

    /// <summary>Wait before the attempt after this many failures in a row.</summary>
    public static TimeSpan Backoff(int failures, GangTimeouts timeouts)
    {
        double factor = Math.Pow(2, Math.Clamp(failures - 1, 0, 30));
        return TimeSpan.FromSeconds(Math.Min(timeouts.BackoffLimit.TotalSeconds, timeouts.BackoffBase.TotalSeconds * factor));
    }

    private static (GangState, IReadOnlyList<GangEffect>) Place(GangState state, GangEvent.Placed placed, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (state.Stage != GangStage.Queued || placed.Placement.Gang != state.Gang)
        {
            return (state, [new GangEffect.Refused($"{state.Gang} is {Word(state.Stage)}, not queued.")]);
        }

        var attempt = new AttemptState
        {
            Number = (state.Attempt?.Number ?? 0) + 1,
            Token = placed.Token,
            Members = [.. placed.Placement.Members.Select(member => new MemberState(member.Node, member.Ranks))],
            ResumeFrom = state.LatestCheckpoint?.Directory,
            PlacedAt = now,
            Borrows = placed.Placement.Borrows,
            PricePerHour = placed.PricePerHour,
            Deadline = now + timeouts.Prepare,
            TraceParent = placed.TraceParent,
        };
        string from = state.LatestCheckpoint is { } checkpoint ? $" from step {checkpoint.Step}" : "";
        if (attempt.WorldSize < state.Shape.Mesh.WorldSize)
        {
            from += $", at a data-parallel width of {attempt.WorldSize / (state.Shape.Mesh.Tensor * state.Shape.Mesh.Pipeline)} of {state.Shape.Mesh.Data}";
        }

        return Changed(
            Enter(state with { Attempt = attempt, NotBefore = null, Nomination = null }, GangStage.Preparing, now, $"Attempt {attempt.Number} prepares on {NodeNames(attempt)}{from}."));
    }

    private static (GangState, IReadOnlyList<GangEffect>) Tick(GangState state, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (state.Attempt is not { Deadline: { } deadline } attempt || now < deadline)
        {
            return (state, Nothing);
        }

        return state.Stage switch
        {
            GangStage.Preparing => Late(FailureCode.PrepareTimeout, MemberPhase.Prepared, $"not prepared within {timeouts.Prepare.TotalSeconds:0.#} s"),
            GangStage.Starting => Late(FailureCode.StartTimeout, MemberPhase.Running, $"not running within {timeouts.Start.TotalSeconds:0.#} s"),
            GangStage.Running => Late(FailureCode.WorkloadError, MemberPhase.Succeeded, $"not finished within {timeouts.Finish.TotalSeconds:0.#} s of the first member"),
            _ => (state, Nothing),
        };

        (GangState, IReadOnlyList<GangEffect>) Late(FailureCode code, MemberPhase expected, string how)
        {
            string[] late = [.. attempt.Members.Where(member => member.Phase is null || member.Phase < expected).Select(member => member.Node)];
            string who = late.Length == 0 ? "The replica is" : $"{string.Join(", ", late)} {(late.Length == 1 ? "is" : "are")}";
            return Fail(state, new GangFailure { Code = code, Message = $"{who} {how}.", Node = late.FirstOrDefault() }, now, timeouts);
        }
    }

    private static (GangState, IReadOnlyList<GangEffect>) Commit(GangState state, GangEvent.CheckpointWritten written, DateTimeOffset now)
    {
        if (state.Checkpoints.LastOrDefault(checkpoint => checkpoint.Attempt == written.Attempt && checkpoint.Step == written.Step) is { } before)
        {
            return before.ManifestSha256 == written.ManifestSha256
                ? (state, [new GangEffect.CheckpointCommitted(before)])
                : (state, [new GangEffect.Refused($"Step {written.Step} of attempt {written.Attempt} is committed with another manifest.")]);
        }

        // An attempt that is being stopped may still save; one that has ended may not.
        if (state.Attempt is not { } attempt || attempt.Number != written.Attempt
            || state.Stage is not (GangStage.Starting or GangStage.Running or GangStage.Stopping))
        {
            return (state, [new GangEffect.Refused(
                $"Attempt {written.Attempt} of {state.Gang} is over: the gang is {Word(state.Stage)} in attempt {state.Attempt?.Number ?? 0}.")]);
        }

        if (state.LatestCheckpoint is { } latest && latest.Attempt == written.Attempt && latest.Step > written.Step)
        {
            return (state, [new GangEffect.Refused($"Step {latest.Step} is committed already, step {written.Step} comes too late.")]);
        }

        int keep = Math.Max(1, state.KeepCheckpoints) - 1;
        CommittedCheckpoint[] expired = [.. state.Checkpoints.SkipLast(keep)];
        var added = new CommittedCheckpoint(
            written.Attempt, written.Step, written.Directory, written.ManifestSha256, now, [.. expired.Select(checkpoint => checkpoint.Directory)])
        {
            Cost = written.Cost,
        };
        return (
            state with { Checkpoints = [.. state.Checkpoints.TakeLast(keep), added], ConsecutiveFailures = 0 },
            [new GangEffect.CheckpointCommitted(added)]);
    }

    private static bool HostsRendezvous(MemberState member) => member.Ranks.Any(rank => rank.Rank == 0);

    private static string NodeNames(AttemptState attempt) => string.Join(", ", attempt.Members.Select(member => member.Node));

    private static GangState Enter(GangState state, GangStage stage, DateTimeOffset now, string reason) =>
        state with { Stage = stage, StageSince = now, StageReason = reason };

    private static (GangState, IReadOnlyList<GangEffect>) Changed(GangState state) =>
        (state, [.. (state.Attempt?.Members ?? []).Where(member => !member.Released).Select(member => new GangEffect.AssignmentChanged(member.Node))]);

#pragma warning disable CA1308 // The stage's name inside a sentence.
    private static string Word(GangStage stage) => stage.ToString().ToLowerInvariant();
#pragma warning restore CA1308
}
