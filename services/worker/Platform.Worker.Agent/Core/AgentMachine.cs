using System.Collections.Immutable;
using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <summary>
/// The node agent as a state machine without I/O. Commands may be lost, repeated, late or out of order: what counts
/// is the highest (epoch, attempt, phase) seen, a member never goes back, and every lease renewal repeats its state.
/// </summary>
public static partial class AgentMachine
{
    // Late messages of a gang that has been forgotten for longer than this would be refused by their epoch or the next pull.
    private static readonly TimeSpan ForgottenFor = TimeSpan.FromHours(1);

    // A failed attempt cannot be saved; its ranks get this long for a checkpoint that is nearly committed.
    private static readonly TimeSpan FailureGrace = TimeSpan.FromSeconds(1);

    // A killed process that has not ended is killed again after this.
    private static readonly TimeSpan KillAgainAfter = TimeSpan.FromSeconds(2);

    /// <summary>Applies an event.</summary>
    /// <param name="state">State before.</param>
    /// <param name="happened">What happened.</param>
    /// <param name="now">Time; never earlier than in the calls before.</param>
    /// <returns>State after, and what to do, in order.</returns>
    public static (AgentState State, IReadOnlyList<AgentEffect> Effects) Apply(
        AgentState state, AgentEvent happened, DateTimeOffset now)
    {
        var step = new Step(state, now);
        switch (happened)
        {
            case AgentEvent.AssignmentReceived received:
                step.Receive(received.Assignment);
                break;
            case AgentEvent.AssignmentsPulled pulled:
                step.Reconcile(pulled);
                break;
            case AgentEvent.LeaseRenewed renewed:
                step.RenewLease(renewed);
                break;
            case AgentEvent.PreflightFinished finished:
                step.PreflightFinished(finished);
                break;
            case AgentEvent.RendezvousOpened opened:
                step.RendezvousOpened(opened);
                break;
            case AgentEvent.RankStarted started:
                step.RankStarted(started);
                break;
            case AgentEvent.RankStartFailed failed:
                step.RankStartFailed(failed);
                break;
            case AgentEvent.RankExited exited:
                step.RankExited(exited);
                break;
            case AgentEvent.FailureReported reported:
                step.FailureReported(reported);
                break;
            case AgentEvent.StallsObserved observed:
                step.StallsObserved(observed);
                break;
            case AgentEvent.ReplicaReady ready:
                step.ReplicaReady(ready);
                break;
            case AgentEvent.ShuttingDown:
                step.ShutDown();
                break;
            case AgentEvent.Tick:
                break;
        }

        // Time passes with every event: an agent that is busy must not miss the end of its lease.
        step.CheckClock();
        return (step.State, step.Effects);
    }

    /// <summary>What each lease renewal says: the state of every attempt the scheduler has not let go of.</summary>
    public static IReadOnlyList<GangMemberReport> Reports(AgentState state) =>
        [.. state.Attempts.Values.Select(a => Report(state, a))];

    /// <summary>When a <see cref="AgentEvent.Tick"/> is due; null when nothing waits for time to pass.</summary>
    public static DateTimeOffset? NextDeadline(AgentState state)
    {
        DateTimeOffset? next = null;
        bool anyToFence = false;
        foreach (AttemptState attempt in state.Attempts.Values)
        {
            anyToFence |= attempt.Phase != MemberPhase.Released;
            if (attempt.Stopping is { } stopping && attempt.HasLiveRanks && (next is null || stopping.KillAt < next))
            {
                next = stopping.KillAt;
            }
        }

        return anyToFence && state.LeaseEnd is { } end && (next is null || end < next) ? end : next;
    }

    /// <summary>Thousandths of each device that attempts hold.</summary>
    public static IReadOnlyDictionary<int, int> HeldMilli(AgentState state)
    {
        var held = new SortedDictionary<int, int>();
        foreach (AttemptState attempt in state.Attempts.Values.Where(a => a.HoldsDevices))
        {
            foreach ((int device, int milli) in Demand(attempt.Assignment))
            {
                held[device] = held.GetValueOrDefault(device) + milli;
            }
        }

        return held;
    }

    private static IEnumerable<(int Device, int Milli)> Demand(GangAssignment assignment) =>
        assignment.Ranks.SelectMany(rank => rank.Devices.Select(device => (device, rank.DeviceMilli)));

    private static GangMemberReport Report(AgentState state, AttemptState attempt) => new()
    {
        Node = state.Node,
        Incarnation = state.Incarnation,
        Epoch = state.Epoch,
        Gang = attempt.Assignment.Gang,
        Attempt = attempt.Assignment.Attempt,
        Phase = attempt.Phase,
        RendezvousAddress = attempt.RendezvousAddress,
        Failure = attempt.Failure,
        ProcessIds = attempt.Ranks
            .Where(r => r.Value is RankProcess.Running)
            .ToImmutableSortedDictionary(r => r.Key, r => ((RankProcess.Running)r.Value).ProcessId),
        ReplicaEndpoint = attempt.ReplicaEndpoint,
        Stalls = attempt.Stalls,
    };

    /// <summary>One application of one event: the state so far and the effects so far.</summary>
    private sealed partial class Step(AgentState state, DateTimeOffset now)
    {
        private readonly List<AgentEffect> _effects = [];

        public AgentState State { get; private set; } = state;

        public IReadOnlyList<AgentEffect> Effects => _effects;

        /// <summary>Kills what overstays its grace, and everything once the lease has run out.</summary>
        public void CheckClock()
        {
            if (State.LeaseEnd is { } end && now >= end)
            {
                foreach (AttemptKey key in State.Attempts.Keys)
                {
                    if (Find(key) is { Phase: not MemberPhase.Released } attempt && attempt.Failure?.Code != FailureCode.NodeLost)
                    {
                        Fence(attempt);
                    }
                }
            }

            foreach (AttemptKey key in State.Attempts.Keys)
            {
                if (Find(key) is { Stopping: { } stopping, HasLiveRanks: true } attempt && now >= stopping.KillAt)
                {
                    _effects.Add(new AgentEffect.KillRanks(key));
                    Put(attempt with { Stopping = stopping with { KillAt = now + KillAgainAfter } });
                }
            }
        }

        /// <summary>Gives up the lease by itself, so that nothing begins any more, and stops every attempt.</summary>
        public void ShutDown()
        {
            State = State with { LeaseEnd = null };
            foreach (AttemptKey key in State.Attempts.Keys)
            {
                if (Find(key) is { } attempt)
                {
                    Fail(attempt, new GangFailure
                    {
                        Code = FailureCode.NodeLost,
                        Message = $"The agent of node {State.Node} was shut down.",
                    });
                }
            }
        }

        private void Fence(AttemptState attempt)
        {
            var failure = new GangFailure
            {
                Code = FailureCode.NodeLost,
                Message = $"Node {State.Node} could not renew its lease in time and stopped its own processes.",
                Node = State.Node,
            };
            // Recorded even over an earlier failure: from here on the scheduler may give the devices to others.
            Put(attempt with
            {
                Phase = MemberPhase.Failed,
                Failure = failure,
                Stopping = new Stopping("The node's lease ran out.", now),
            });
            Changed(attempt.Key);
            ReleaseIfEmpty(attempt.Key);
        }

        private void Put(AttemptState attempt) =>
            State = State with { Attempts = State.Attempts.SetItem(attempt.Key, attempt) };

        private AttemptState? Find(AttemptKey key) => State.Attempts.GetValueOrDefault(key);

        private void Changed(AttemptKey key) => _effects.Add(new AgentEffect.SendReport(Report(State, State.Attempts[key])));

        private void Fail(AttemptState attempt, GangFailure failure)
        {
            if (attempt.Phase is MemberPhase.Released or MemberPhase.Failed)
            {
                return;
            }

            bool alreadyStopping = attempt.Stopping is not null;
            Put(attempt with
            {
                Phase = MemberPhase.Failed,
                Failure = failure with { Node = failure.Node ?? State.Node },
                Stopping = attempt.Stopping ?? new Stopping(failure.Message, now + FailureGrace),
            });
            Changed(attempt.Key);
            if (!alreadyStopping && attempt.HasLiveRanks)
            {
                _effects.Add(new AgentEffect.AskRanksToStop(attempt.Key, failure.Message, FailureGrace, Checkpoint: false));
            }

            ReleaseIfEmpty(attempt.Key);
        }

        private void Stop(AttemptState attempt, string reason)
        {
            if (attempt.Phase == MemberPhase.Released || attempt.Stopping is not null)
            {
                return;
            }

            var grace = TimeSpan.FromSeconds(Math.Max(0, attempt.Assignment.StopGraceSeconds));
            Put(attempt with { Stopping = new Stopping(reason, now + grace) });
            if (attempt.HasLiveRanks)
            {
                bool checkpoint = attempt is { Phase: MemberPhase.Running, Assignment.Kind: WorkloadKind.Training };
                _effects.Add(new AgentEffect.AskRanksToStop(attempt.Key, reason, grace, checkpoint));
            }

            ReleaseIfEmpty(attempt.Key);
        }

        /// <summary>Ends a stopping attempt whose processes are all gone and lets those that wait for its devices go on.</summary>
        private void ReleaseIfEmpty(AttemptKey key)
        {
            if (Find(key) is not { Stopping: not null } attempt || attempt.Phase == MemberPhase.Released || attempt.HasLiveRanks)
            {
                return;
            }

            Put(attempt with { Phase = MemberPhase.Released, HoldsDevices = false });
            // The scheduler may let go of it now, which it says only when asked.
            State = State with { AppliedVersion = 0 };
            _effects.Add(new AgentEffect.CleanUp(key));
            Changed(key);
            foreach (AttemptKey other in State.Attempts.Keys)
            {
                if (State.HasLease(now) && Find(other) is { Phase: MemberPhase.Preparing, HoldsDevices: false, Stopping: null } waiting)
                {
                    Reserve(waiting);
                }
            }
        }
    }
}
