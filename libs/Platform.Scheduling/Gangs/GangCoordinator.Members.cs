using Platform.Core.Gangs;

namespace Platform.Scheduling.Gangs;

/// <summary>What members say and what becomes of them.</summary>
public static partial class GangCoordinator
{
    private static (GangState, IReadOnlyList<GangEffect>) Report(GangState state, GangMemberReport report, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (!state.IsActive || state.Attempt is not { } attempt || attempt.Number != report.Attempt)
        {
            return (state, Nothing);
        }

        var member = attempt.Members.FirstOrDefault(member => member.Node == report.Node);
        if (member is null || member.Released || report.Phase < member.Phase)
        {
            return (state, Nothing);
        }

        var next = member with
        {
            Phase = report.Phase,
            Incarnation = report.Incarnation,
            Released = report.Phase == MemberPhase.Released,
            ProcessIds = report.ProcessIds.Count > 0 ? report.ProcessIds : member.ProcessIds,
            ReplicaEndpoint = report.ReplicaEndpoint ?? member.ReplicaEndpoint,
            Stalls = report.Stalls.Count > 0 ? report.Stalls : member.Stalls,
        };
        bool known = member.Phase == next.Phase && member.ReplicaEndpoint == next.ReplicaEndpoint && member.ProcessIds.Count == next.ProcessIds.Count
            && member.Incarnation == next.Incarnation;
        if (known)
        {
            return (state, Nothing);
        }

        state = With(state, next);
        if (HostsRendezvous(next) && report.RendezvousAddress is { } address && state.Stage == GangStage.Preparing)
        {
            state = state with { Attempt = state.Attempt! with { RendezvousAddress = address } };
        }

        return report.Phase switch
        {
            MemberPhase.Failed => Fail(state, FailureOf(report), now, timeouts),
            MemberPhase.Released => Release(state, member, report, now, timeouts),
            MemberPhase.Succeeded => Succeed(state, next, now, timeouts),
            _ => Advance(state, now, timeouts),
        };
    }

    /// <summary>Moves on when every member is far enough.</summary>
    private static (GangState, IReadOnlyList<GangEffect>) Advance(GangState state, DateTimeOffset now, GangTimeouts timeouts)
    {
        var attempt = state.Attempt!;
        if (state.Stage == GangStage.Preparing && attempt.Members.All(member => member.Phase >= MemberPhase.Prepared))
        {
            return Changed(Enter(
                state with { Attempt = attempt with { Started = true, Deadline = now + timeouts.Start } },
                GangStage.Starting, now, $"All {attempt.Members.Count} nodes of attempt {attempt.Number} are prepared; ranks are starting."));
        }

        bool running = attempt.Members.All(member => member.Phase >= MemberPhase.Running)
            && (state.Kind != WorkloadKind.Serving || attempt.Members.Any(member => member.ReplicaEndpoint is not null));
        if (state.Stage == GangStage.Starting && running)
        {
            return (
                Enter(
                    state with
                    {
                        Attempt = attempt with { Deadline = null, RunningAt = now },
                        FirstRunningAt = state.FirstRunningAt ?? now,
                        ConsecutiveFailures = state.Kind == WorkloadKind.Serving ? 0 : state.ConsecutiveFailures,
                    },
                    GangStage.Running, now, $"Attempt {attempt.Number} runs on {NodeNames(attempt)}."),
                Nothing);
        }

        return (state, Nothing);
    }

    private static (GangState, IReadOnlyList<GangEffect>) Succeed(GangState state, MemberState member, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (state.Kind == WorkloadKind.Serving)
        {
            return Fail(state, new GangFailure { Code = FailureCode.RankExited, Message = "The replica's process ended.", Node = member.Node }, now, timeouts);
        }

        (state, _) = Advance(state, now, timeouts);
        var attempt = state.Attempt!;
        if (state.Stage is not (GangStage.Starting or GangStage.Running))
        {
            return (state, Nothing);
        }

        if (attempt.Members.All(each => each.Phase == MemberPhase.Succeeded))
        {
            return Stop(state, StopOutcome.Succeed, "every rank ended well", now);
        }

        return state.Stage == GangStage.Running && attempt.Deadline is null
            ? (state with { Attempt = attempt with { Deadline = now + timeouts.Finish } }, Nothing)
            : (state, Nothing);
    }

    private static (GangState, IReadOnlyList<GangEffect>) Release(
        GangState state, MemberState before, GangMemberReport report, DateTimeOffset now, GangTimeouts timeouts)
    {
        IReadOnlyList<GangEffect> effects = [new GangEffect.DevicesReleased(report.Node)];
        if (report.Failure is { } failure && before.Phase != MemberPhase.Failed)
        {
            // Failed was lost on the way; Released repeats its reason.
            (state, var more) = Fail(state, failure with { Node = failure.Node ?? report.Node }, now, timeouts);
            effects = [.. effects, .. more];
        }
        else if (state.Stage != GangStage.Stopping)
        {
            (state, var more) = Fail(
                state, new GangFailure { Code = FailureCode.NodeLost, Message = $"{report.Node} let go of its devices without being asked.", Node = report.Node }, now, timeouts);
            effects = [.. effects, .. more];
        }

        (state, var last) = ConcludeIfReleased(state, now, timeouts);
        return (state, [.. effects, .. last]);
    }

    private static (GangState, IReadOnlyList<GangEffect>) Forget(GangState state, string node, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (state.Stage is not (GangStage.Preparing or GangStage.Starting or GangStage.Running)
            || state.Attempt!.Members.FirstOrDefault(member => member.Node == node) is not { Released: false, Phase: not null })
        {
            return (state, Nothing);
        }

        return Fail(state, new GangFailure { Code = FailureCode.NodeLost, Message = $"The agent of {node} started anew and no longer knows the attempt.", Node = node }, now, timeouts);
    }

    private static (GangState, IReadOnlyList<GangEffect>) Expire(GangState state, string node, DateTimeOffset now, GangTimeouts timeouts)
    {
        if (!state.IsActive || state.Attempt!.Members.FirstOrDefault(member => member.Node == node) is not { Released: false })
        {
            return (state, Nothing);
        }

        return Fail(state, new GangFailure { Code = FailureCode.NodeLost, Message = $"The lease of {node} ran out: its agent has not been heard.", Node = node }, now, timeouts);
    }

    private static (GangState, IReadOnlyList<GangEffect>) Gone(GangState state, string node, DateTimeOffset now, GangTimeouts timeouts)
    {
        (state, var effects) = Expire(state, node, now, timeouts);
        if (!state.IsActive || state.Attempt!.Members.FirstOrDefault(member => member.Node == node) is not { Released: false } member)
        {
            return (state, effects);
        }

        state = With(state, member with { Released = true });
        (state, var last) = ConcludeIfReleased(state, now, timeouts);
        return (state, [.. effects, new GangEffect.DevicesReleased(node), .. last]);
    }

    private static GangFailure FailureOf(GangMemberReport report)
    {
        var failure = report.Failure ?? new GangFailure { Code = FailureCode.WorkloadError, Message = $"{report.Node} failed without a reason." };
        return failure with { Node = failure.Node ?? report.Node };
    }

    private static GangState With(GangState state, MemberState member) => state with
    {
        Attempt = state.Attempt! with { Members = [.. state.Attempt.Members.Select(each => each.Node == member.Node ? member : each)] },
    };
}
