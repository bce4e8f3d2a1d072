using Platform.Core.Gangs;
using Platform.Worker.Agent.Core;
using Xunit;

namespace Platform.Worker.Agent.Tests.Core;

/// <summary>
/// A machine between a scheduler that wants things and a node that does them, with a bus that loses, repeats, delays
/// and reorders. After each event the invariants hold; in the end nothing is left.
/// </summary>
public sealed class AgentMachineRandomTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Holds_its_invariants_whatever_the_bus_does(int block)
    {
        for (int i = 0; i < 250; i++)
        {
            int seed = (block * 1000) + i;
            try
            {
                new World(seed).Run();
            }
            catch
            {
                output.WriteLine($"seed {seed}");
                throw;
            }
        }
    }

    private sealed class World(int seed)
    {
        private readonly Random _random = new(seed);
        private readonly MachineUnderTest _machine = new(devices: 3);
        private readonly Dictionary<string, GangAssignment> _wanted = [];
        private readonly List<(DateTimeOffset At, AgentEvent Event)> _late = [];
        private readonly HashSet<(AttemptKey, int)> _processes = [];
        private readonly Dictionary<AttemptKey, MemberPhase> _phases = [];
        private readonly HashSet<AttemptKey> _forgotten = [];
        private readonly Dictionary<string, int> _attempts = [];
        private long _version;
        private long _epoch = 1;

        public void Run()
        {
            for (int i = 0; i < 300; i++)
            {
                Step(quiet: false);
            }

            _wanted.Clear();
            _version++;
            for (int i = 0; i < 400 && (_machine.State.Attempts.Count > 0 || _late.Count > 0); i++)
            {
                Step(quiet: true);
            }

            Assert.Empty(_machine.State.Attempts);
            Assert.Empty(_processes);
            Assert.Empty(AgentMachine.HeldMilli(_machine.State));
        }

        private void Step(bool quiet)
        {
            Deliver(new AgentEvent.Tick(), _random.NextDouble() * 0.5);
            foreach ((DateTimeOffset At, AgentEvent Event) due in _late.Where(l => l.At <= _machine.Now).ToList())
            {
                _late.Remove(due);
                Deliver(due.Event, 0);
            }

            if (quiet ? _random.Next(3) == 0 : _random.Next(8) == 0)
            {
                Deliver(new AgentEvent.LeaseRenewed(_machine.Now, _epoch, TimeSpan.FromSeconds(quiet ? 60 : 3), _version), 0);
            }

            if (!quiet)
            {
                ChangeMind();
                if (_random.Next(40) == 0 && _processes.Count > 0)
                {
                    (AttemptKey key, int rank) = _processes.ElementAt(_random.Next(_processes.Count));
                    End(key, rank, _random.Next(3) == 0 ? 0 : 1);
                }
            }
        }

        private void ChangeMind()
        {
            if (_random.Next(60) == 0)
            {
                _epoch++;
            }

            string gang = $"jobs/{_random.Next(4)}";
            if (_wanted.TryGetValue(gang, out GangAssignment? assignment))
            {
                if (_random.Next(6) == 0)
                {
                    Want(assignment with { Epoch = _epoch, Phase = (GangPhase)Math.Min(2, (int)assignment.Phase + 1) });
                }
                else if (_random.Next(10) == 0)
                {
                    _wanted.Remove(gang);
                    _version++;
                }
            }
            else if (_random.Next(4) == 0)
            {
                int attempt = _attempts[gang] = _attempts.GetValueOrDefault(gang) + 1;
                Want(MachineUnderTest.Assignment(
                    GangPhase.Prepare, attempt, _epoch, gang, [_random.Next(3), _random.Next(3)], _random.Next(2) == 0 ? 500 : 250,
                    grace: _random.NextDouble() * 2));
            }
        }

        private void Want(GangAssignment assignment)
        {
            _wanted[assignment.Gang] = assignment;
            _version++;
            for (int copies = _random.Next(3); copies > 0; copies--)
            {
                _late.Add((_machine.Now.AddSeconds(_random.NextDouble() * 6), new AgentEvent.AssignmentReceived(assignment)));
            }
        }

        private void Deliver(AgentEvent happened, double wait)
        {
            if (wait > 0)
            {
                Carry(_machine.Wait(wait));
            }

            Carry(_machine.Apply(happened));
        }

        private void Carry(IReadOnlyList<AgentEffect> effects)
        {
            CheckInvariants();
            foreach (AgentEffect effect in effects)
            {
                switch (effect)
                {
                    case AgentEffect.PullAssignments when _random.Next(5) > 0:
                        var pulled = new AgentEvent.AssignmentsPulled(_machine.Now, _epoch, _version, [.. _wanted.Values]);
                        _late.Add((_machine.Now.AddSeconds(_random.NextDouble()), pulled));
                        break;
                    case AgentEffect.RunPreflight run:
                        Later(new AgentEvent.PreflightFinished(AttemptKey.Of(run.Assignment), _random.Next(8) > 0 ? null
                            : new GangFailure { Code = FailureCode.InputUnreadable, Message = "no" }));
                        break;
                    case AgentEffect.StartRank start when _random.Next(10) > 0:
                        Assert.True(_processes.Add((AttemptKey.Of(start.Assignment), start.Placement.Rank)));
                        Later(new AgentEvent.RankStarted(AttemptKey.Of(start.Assignment), start.Placement.Rank, 1));
                        break;
                    case AgentEffect.StartRank start:
                        Later(new AgentEvent.RankStartFailed(AttemptKey.Of(start.Assignment), start.Placement.Rank, "no"));
                        break;
                    case AgentEffect.AskRanksToStop ask when _random.Next(2) == 0:
                        EndAll(ask.Attempt, 75);
                        break;
                    case AgentEffect.KillRanks kill:
                        EndAll(kill.Attempt, 137);
                        break;
                    case AgentEffect.CleanUp cleanUp:
                        Assert.DoesNotContain(_processes, p => p.Item1 == cleanUp.Attempt);
                        break;
                }
            }
        }

        private void EndAll(AttemptKey key, int code)
        {
            foreach ((AttemptKey, int) process in _processes.Where(p => p.Item1 == key).ToList())
            {
                End(key, process.Item2, code);
            }
        }

        // The process is gone at once; the agent hears of it later, but in the order in which it heard of its start.
        private void End(AttemptKey key, int rank, int code)
        {
            if (_processes.Remove((key, rank)))
            {
                _late.Add((_machine.Now.AddSeconds(1.01 + (_random.NextDouble() * 0.2)), new AgentEvent.RankExited(key, rank, code, [])));
            }
        }

        private void Later(AgentEvent happened) => _late.Add((_machine.Now.AddSeconds(_random.NextDouble()), happened));

        private void CheckInvariants()
        {
            AgentState state = _machine.State;
            Assert.All(AgentMachine.HeldMilli(state).Values, milli => Assert.InRange(milli, 1, 1000));
            foreach (AttemptState attempt in state.Attempts.Values)
            {
                Assert.True(attempt.HoldsDevices || !attempt.HasLiveRanks, $"{attempt.Key} runs without devices");
                Assert.True(!attempt.HasLiveRanks || attempt.Phase != MemberPhase.Released, $"{attempt.Key} is released and runs");
                Assert.DoesNotContain(attempt.Key, _forgotten);
                Assert.True(attempt.Phase >= _phases.GetValueOrDefault(attempt.Key), $"{attempt.Key} went back");
                _phases[attempt.Key] = attempt.Phase;
            }

            foreach (AttemptKey gone in _phases.Keys.Where(k => !state.Attempts.ContainsKey(k)))
            {
                _forgotten.Add(gone);
            }

            foreach ((AttemptKey key, int _) in _processes)
            {
                Assert.True(state.Attempts.ContainsKey(key), $"{key} has a process and is forgotten");
            }

            if (state.LeaseEnd is { } end && _machine.Now >= end)
            {
                Assert.All(state.Attempts.Values, a => Assert.True(a.Phase is MemberPhase.Failed or MemberPhase.Released, $"{a.Key} lives without a lease"));
            }
        }
    }
}
