using Platform.Core.Cluster;
using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <content>What the scheduler wants: assignments, pulls and leases.</content>
public static partial class AgentMachine
{
    private sealed partial class Step
    {
        /// <summary>An assignment from the bus, which is only a hint: without a lease it must wait for the pull after the next renewal.</summary>
        public void Receive(GangAssignment assignment)
        {
            if (assignment.Node != State.Node || assignment.Epoch < State.Epoch)
            {
                return;
            }

            SeeEpoch(assignment.Epoch);
            // The next lease answer then differs from what has been applied, so the whole truth is pulled.
            State = State with { AppliedVersion = 0 };
            if (State.HasLease(now))
            {
                Want(assignment);
            }
        }

        /// <summary>Everything the scheduler wants. What it does not list must stop, unless the agent heard of it after asking.</summary>
        public void Reconcile(AgentEvent.AssignmentsPulled pulled)
        {
            if (pulled.Epoch < State.Epoch || !State.HasLease(now))
            {
                return;
            }

            SeeEpoch(pulled.Epoch);
            var listed = new HashSet<AttemptKey>();
            foreach (GangAssignment assignment in pulled.Assignments.Where(a => a.Node == State.Node))
            {
                listed.Add(AttemptKey.Of(assignment));
                // Whoever decided it, the present leader stands behind it.
                Want(assignment with { Epoch = pulled.Epoch });
            }

            bool isComplete = true;
            foreach (AttemptKey key in State.Attempts.Keys)
            {
                if (listed.Contains(key) || Find(key) is not { } attempt)
                {
                    continue;
                }

                if (attempt.KnownSince >= pulled.RequestedAt)
                {
                    isComplete = false;
                }
                else if (attempt.Phase == MemberPhase.Released)
                {
                    Forget(attempt);
                }
                else
                {
                    Stop(attempt, "The scheduler no longer wants this attempt.");
                    isComplete &= Find(key)?.Phase != MemberPhase.Released;
                }
            }

            State = State with { AppliedVersion = isComplete ? pulled.Version : 0 };
        }

        /// <summary>The lease counts from when the renewal was sent: the answer's way does not lengthen it.</summary>
        public void RenewLease(AgentEvent.LeaseRenewed renewed)
        {
            if (renewed.Epoch < State.Epoch)
            {
                return;
            }

            SeeEpoch(renewed.Epoch);
            DateTimeOffset end = renewed.SentAt + renewed.Lease;
            if (State.LeaseEnd is not { } known || end > known)
            {
                // If the old lease has run out in the meantime, what ran under it must end before the new one begins.
                CheckClock();
                State = State with { LeaseEnd = end };
            }

            if (renewed.DesiredVersion != State.AppliedVersion)
            {
                _effects.Add(new AgentEffect.PullAssignments());
            }
        }

        private void SeeEpoch(long epoch)
        {
            if (epoch > State.Epoch)
            {
                State = State with { Epoch = epoch };
                _effects.Add(new AgentEffect.PersistEpoch(epoch));
            }
        }

        private void Want(GangAssignment assignment)
        {
            AttemptKey key = AttemptKey.Of(assignment);
            if (IsOver(key))
            {
                return;
            }

            foreach (AttemptKey other in State.Attempts.Keys)
            {
                if (other.Gang == key.Gang && other.Attempt < key.Attempt && Find(other) is { } older)
                {
                    Stop(older, $"Attempt {key.Attempt} replaces attempt {other.Attempt}.");
                }
            }

            if (Find(key) is { } known)
            {
                Advance(known, assignment);
            }
            else
            {
                Begin(assignment);
            }
        }

        /// <summary>A newer attempt of the gang is known, or this one was forgotten.</summary>
        private bool IsOver(AttemptKey key) =>
            State.Attempts.Keys.Any(k => k.Gang == key.Gang && k.Attempt > key.Attempt)
            || (State.Forgotten.TryGetValue(key.Gang, out (int Attempt, DateTimeOffset Since) last) && key.Attempt <= last.Attempt);

        private void Begin(GangAssignment assignment)
        {
            var attempt = new AttemptState { Assignment = assignment, KnownSince = now, Phase = MemberPhase.Preparing };
            Put(attempt);
            switch (assignment.Phase)
            {
                case GangPhase.Prepare:
                    Reserve(attempt);
                    break;
                case GangPhase.Start:
                    // It was prepared by a former run of this agent, whose processes and reservations are gone.
                    Fail(attempt, new GangFailure
                    {
                        Code = FailureCode.NodeLost,
                        Message = $"The agent of node {State.Node} was restarted after it had prepared attempt {assignment.Attempt}.",
                    });
                    break;
                case GangPhase.Stop:
                    Stop(attempt, assignment.StopReason ?? "The scheduler stopped it.");
                    break;
            }
        }

        private void Advance(AttemptState known, GangAssignment assignment)
        {
            if ((assignment.Epoch, assignment.Phase).CompareTo((known.Assignment.Epoch, known.Assignment.Phase)) <= 0)
            {
                return;
            }

            GangPhase wanted = assignment.Phase > known.Assignment.Phase ? assignment.Phase : known.Assignment.Phase;
            AttemptState next = known with
            {
                Assignment = known.Assignment with
                {
                    Epoch = assignment.Epoch,
                    Phase = wanted,
                    RendezvousAddress = assignment.RendezvousAddress ?? known.Assignment.RendezvousAddress,
                    StopReason = assignment.StopReason ?? known.Assignment.StopReason,
                    StopGraceSeconds = assignment.StopGraceSeconds,
                },
            };
            Put(next);
            switch (wanted)
            {
                case GangPhase.Start:
                    StartIfPrepared(next);
                    break;
                case GangPhase.Stop:
                    Stop(next, assignment.StopReason ?? "The scheduler stopped it.");
                    break;
                case GangPhase.Prepare:
                    break;
            }
        }

        /// <summary>Reserves devices and starts the checks; waits if those in the way are on their way out.</summary>
        private void Reserve(AttemptState attempt)
        {
            var held = new Dictionary<int, int>();
            var leaving = new Dictionary<int, int>();
            foreach (AttemptState other in State.Attempts.Values.Where(a => a.HoldsDevices))
            {
                foreach ((int device, int milli) in Demand(other.Assignment))
                {
                    Dictionary<int, int> ledger = other.Stopping is null ? held : leaving;
                    ledger[device] = ledger.GetValueOrDefault(device) + milli;
                }
            }

            bool mustWait = false;
            foreach (IGrouping<int, (int Device, int Milli)> demand in Demand(attempt.Assignment).GroupBy(d => d.Device))
            {
                int wanted = demand.Sum(d => d.Milli), taken = held.GetValueOrDefault(demand.Key);
                if (!State.Devices.TryGetValue(demand.Key, out DeviceInfo? device) || !device.Healthy)
                {
                    Refuse(attempt, $"Device {demand.Key} of node {State.Node} {(device is null ? "does not exist" : "is not healthy")}.");
                    return;
                }

                if (wanted + taken > 1000)
                {
                    Refuse(attempt, $"{wanted}‰ of device {demand.Key} of node {State.Node} were wanted, but {taken}‰ are in use.");
                    return;
                }

                mustWait |= wanted + taken + leaving.GetValueOrDefault(demand.Key) > 1000;
            }

            if (mustWait)
            {
                return;
            }

            Put(attempt with { HoldsDevices = true });
            if (attempt.AwaitsRendezvous)
            {
                _effects.Add(new AgentEffect.OpenRendezvous(attempt.Assignment));
            }

            _effects.Add(new AgentEffect.RunPreflight(attempt.Assignment));
        }

        private void Refuse(AttemptState attempt, string message) =>
            Fail(attempt, new GangFailure { Code = FailureCode.DevicesUnavailable, Message = message });

        private void Forget(AttemptState attempt)
        {
            State = State with
            {
                Attempts = State.Attempts.Remove(attempt.Key),
                Forgotten = State.Forgotten
                    .RemoveRange(State.Forgotten.Where(f => now - f.Value.Since > ForgottenFor).Select(f => f.Key).ToList())
                    .SetItem(attempt.Key.Gang, (
                        Math.Max(attempt.Key.Attempt, State.Forgotten.TryGetValue(attempt.Key.Gang, out (int Attempt, DateTimeOffset) last) ? last.Attempt : 0),
                        now)),
            };
        }
    }
}
