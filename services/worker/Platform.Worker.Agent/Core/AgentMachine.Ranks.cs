using System.Collections.Immutable;
using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <content>What happens on the node: checks, rendezvous and processes.</content>
public static partial class AgentMachine
{
    private sealed partial class Step
    {
        public void PreflightFinished(AgentEvent.PreflightFinished finished)
        {
            if (Find(finished.Attempt) is not { Phase: MemberPhase.Preparing, Stopping: null } attempt)
            {
                return;
            }

            if (finished.Failure is { } failure)
            {
                Fail(attempt, failure);
                return;
            }

            AttemptState next = attempt with { PreflightPassed = true };
            Put(next);
            PreparedIfComplete(next);
        }

        public void RendezvousOpened(AgentEvent.RendezvousOpened opened)
        {
            if (Find(opened.Attempt) is not { Phase: MemberPhase.Preparing, Stopping: null } attempt)
            {
                return;
            }

            AttemptState next = attempt with { RendezvousAddress = opened.Address };
            Put(next);
            PreparedIfComplete(next);
        }

        public void RankStarted(AgentEvent.RankStarted started)
        {
            if (Find(started.Attempt) is not { } attempt
                || attempt.Ranks.GetValueOrDefault(started.Rank) is not RankProcess.Starting)
            {
                return;
            }

            AttemptState next = attempt with
            {
                Ranks = attempt.Ranks.SetItem(started.Rank, new RankProcess.Running(started.ProcessId)),
            };
            Put(next);
            if (next.Stopping is not null)
            {
                // It came up while its attempt was being stopped; it has nothing to save.
                _effects.Add(new AgentEffect.KillRanks(next.Key));
            }
            else if (next.Ranks.Values.All(r => r is not RankProcess.Starting))
            {
                Changed(next.Key);
            }
        }

        public void RankStartFailed(AgentEvent.RankStartFailed failed)
        {
            if (Find(failed.Attempt) is not { } attempt
                || attempt.Ranks.GetValueOrDefault(failed.Rank) is not RankProcess.Starting)
            {
                return;
            }

            AttemptState next = attempt with { Ranks = attempt.Ranks.SetItem(failed.Rank, new RankProcess.Exited(127)) };
            Put(next);
            Fail(next, new GangFailure { Code = FailureCode.LaunchFailed, Message = failed.Message, Rank = failed.Rank });
            ReleaseIfEmpty(next.Key);
        }

        public void RankExited(AgentEvent.RankExited exited)
        {
            if (Find(exited.Attempt) is not { } attempt
                || attempt.Ranks.GetValueOrDefault(exited.Rank) is not { IsLive: true })
            {
                return;
            }

            AttemptState next = attempt with { Ranks = attempt.Ranks.SetItem(exited.Rank, new RankProcess.Exited(exited.ExitCode)) };
            if (next.Failure is { } known && known.Rank == exited.Rank && known.LogTail.Count == 0 && exited.LogTail.Count > 0)
            {
                // It said why before it ended; now its log is complete.
                next = next with { Failure = known with { LogTail = exited.LogTail } };
            }

            Put(next);
            if (next.Stopping is null)
            {
                Ended(next, exited);
            }

            ReleaseIfEmpty(next.Key);
        }

        public void FailureReported(AgentEvent.FailureReported reported)
        {
            if (Find(reported.Attempt) is { Phase: MemberPhase.Running, Stopping: null } attempt)
            {
                Fail(attempt, reported.Failure);
            }
        }

        /// <summary>Goes to the scheduler with the next report: at the latest that of the release.</summary>
        public void StallsObserved(AgentEvent.StallsObserved observed)
        {
            if (Find(observed.Attempt) is { Phase: not MemberPhase.Released } attempt)
            {
                Put(attempt with { Stalls = observed.Stalls });
            }
        }

        public void ReplicaReady(AgentEvent.ReplicaReady ready)
        {
            if (Find(ready.Attempt) is { Phase: MemberPhase.Running, Stopping: null } attempt && attempt.ReplicaEndpoint != ready.Endpoint)
            {
                Put(attempt with { ReplicaEndpoint = ready.Endpoint });
                Changed(attempt.Key);
            }
        }

        private void Ended(AttemptState attempt, AgentEvent.RankExited exited)
        {
            if (exited.ExitCode != 0 || attempt.Assignment.Kind == WorkloadKind.Serving)
            {
                Fail(attempt, new GangFailure
                {
                    Code = FailureCode.RankExited,
                    Message = $"Rank {exited.Rank} on node {State.Node} {Describe(exited.ExitCode)}.",
                    Rank = exited.Rank,
                    LogTail = exited.LogTail,
                });
            }
            else if (!attempt.HasLiveRanks)
            {
                Put(attempt with { Phase = MemberPhase.Succeeded });
                Changed(attempt.Key);
            }
        }

        private void PreparedIfComplete(AttemptState attempt)
        {
            if (!attempt.PreflightPassed || attempt.AwaitsRendezvous)
            {
                return;
            }

            AttemptState prepared = attempt with { Phase = MemberPhase.Prepared };
            Put(prepared);
            Changed(prepared.Key);
            StartIfPrepared(prepared);
        }

        private void StartIfPrepared(AttemptState attempt)
        {
            if (attempt is not { Phase: MemberPhase.Prepared, Stopping: null, Assignment.Phase: GangPhase.Start })
            {
                return;
            }

            AttemptState running = attempt with
            {
                Phase = MemberPhase.Running,
                Ranks = attempt.Assignment.Ranks.ToImmutableSortedDictionary(r => r.Rank, _ => (RankProcess)new RankProcess.Starting()),
            };
            Put(running);
            _effects.AddRange(running.Assignment.Ranks.Select(rank => new AgentEffect.StartRank(running.Assignment, rank)));
        }

        private static string Describe(int exitCode) => exitCode switch
        {
            0 => "ended although it should go on serving",
            137 => "was killed (signal 9)",
            > 128 and < 193 => $"was ended by signal {exitCode - 128}",
            _ => $"ended with exit code {exitCode}",
        };
    }
}
