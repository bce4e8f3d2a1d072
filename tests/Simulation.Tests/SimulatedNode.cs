using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Gangs;
using Platform.Worker.Agent.Core;

namespace Platform.Simulation.Tests;

/// <summary>A machine: the real agent machine, the processes it started, and the network to the scheduler.</summary>
internal sealed class SimulatedNode
{
    private const double LongestStart = 2;
    private readonly SimulatedWorld world;
    private readonly SimulatedScheduler scheduler;
    private readonly SimulatedProcesses processes;
    private readonly ControlOptions options;
    private readonly NodeInventory inventory;
    private AgentState? state;
    private string incarnation = "";
    private long persistedEpoch;
    private bool sendInventory = true;
    private DateTimeOffset unreachableUntil = SimulatedWorld.Begin;
    private DateTimeOffset? tickAt;
    private int lives;

    public SimulatedNode(SimulatedWorld world, SimulatedScheduler scheduler, SimulatedProcesses processes, ControlOptions options, string name, int devices)
    {
        (this.world, this.scheduler, this.processes, this.options, Name) = (world, scheduler, processes, options, name);
        inventory = new NodeInventory(
            name, [.. Enumerable.Range(0, devices).Select(index => new DeviceInfo(index, "cpu", 1L << 30))], 64L << 30, new Dictionary<string, string>(), "sim");
    }

    public string Name { get; }

    public int Crashes { get; private set; }

    private bool Reachable => world.Now >= unreachableUntil;

    public void Start()
    {
        incarnation = $"{Name}-{++lives}";
        state = AgentState.Initial(inventory, incarnation, persistedEpoch);
        sendInventory = true;
        tickAt = null;
        string own = incarnation;
        world.After(world.Uniform(0, 1), () => Renew(own));
        world.After(1, () => Misfortune(own));
    }

    /// <summary>A command from the bus.</summary>
    public void Deliver(GangAssignment assignment)
    {
        if (state is not null && Reachable)
        {
            Apply(new AgentEvent.AssignmentReceived(assignment));
        }
    }

    /// <summary>A process of this node ended.</summary>
    public void Exited(SimulatedProcess process, int code, string own)
    {
        if (own == incarnation && state is not null)
        {
            Apply(new AgentEvent.RankExited(new AttemptKey(process.Gang, process.Attempt), process.Placement.Rank, code, []));
        }
    }

    /// <summary>Rank 0 asks to commit a checkpoint.</summary>
    public void Commit(SimulatedProcess process, int step) => Call(
        incarnation,
        (plane, _) => plane.Apply(process.Gang, new GangEvent.CheckpointWritten(process.Attempt, step, $"{process.Gang}/{process.Attempt}/{step}", $"{step}"), world.Now),
        _ => { });

    private void Apply(AgentEvent happened)
    {
        var (next, effects) = AgentMachine.Apply(state!, happened, world.Now);
        state = next;
        string own = incarnation;
        foreach (var effect in effects)
        {
            Carry(effect, own);
        }

        if (AgentMachine.NextDeadline(next) is { } wanted && Soonest(wanted) is var deadline && (tickAt is null || deadline < tickAt))
        {
            tickAt = deadline;
            world.At(deadline, () =>
            {
                if (own == incarnation && state is not null)
                {
                    tickAt = null;
                    Apply(new AgentEvent.Tick());
                }
            });
        }
    }

    private void Carry(AgentEffect effect, string own)
    {
        switch (effect)
        {
            case AgentEffect.PersistEpoch persist:
                persistedEpoch = persist.Epoch;
                break;
            case AgentEffect.PullAssignments:
                Pull(own);
                break;
            case AgentEffect.RunPreflight preflight:
                Later(own, world.Uniform(0.01, 1), () => new AgentEvent.PreflightFinished(AttemptKey.Of(preflight.Assignment), Preflight()));
                break;
            case AgentEffect.OpenRendezvous open:
                Later(own, world.Uniform(0.01, 0.2), () => new AgentEvent.RendezvousOpened(AttemptKey.Of(open.Assignment), $"{Name}:{open.Assignment.Attempt}"));
                break;
            case AgentEffect.StartRank start:
                StartRank(start, own);
                break;
            case AgentEffect.AskRanksToStop ask:
                processes.AskToStop(Name, ask.Attempt.Gang, ask.Attempt.Attempt);
                break;
            case AgentEffect.KillRanks kill:
                processes.Kill(Name, kill.Attempt.Gang, kill.Attempt.Attempt);
                break;
            case AgentEffect.SendReport send:
                SendReport(send.Report);
                break;
            case AgentEffect.CleanUp:
                break;
        }
    }

    /// <summary>A clock that is due, or overdue, rings a moment later at the earliest, as a real timer does.</summary>
    private DateTimeOffset Soonest(DateTimeOffset wanted)
    {
        var soonest = world.Now + TimeSpan.FromMilliseconds(10);
        return wanted < soonest ? soonest : wanted;
    }

    private GangFailure? Preflight() => world.Chance(world.Faults.PreflightFails)
        ? new GangFailure { Code = FailureCode.DevicesUnavailable, Message = "Chance.", Node = Name, IsPermanent = world.Chance(0.05) }
        : null;

    private void StartRank(AgentEffect.StartRank start, string own) => world.After(world.Uniform(0.01, LongestStart), () =>
    {
        if (own != incarnation || state is null)
        {
            return;
        }

        var key = AttemptKey.Of(start.Assignment);
        if (state.Attempts.GetValueOrDefault(key)?.Stopping is not null && world.Chance(0.5))
        {
            // A start that was still on its way when the attempt was stopped may be given up.
            Apply(new AgentEvent.RankStartFailed(key, start.Placement.Rank, "Stopped before it was started."));
            return;
        }

        var process = processes.Start(start.Assignment, start.Placement, this, own);
        Apply(new AgentEvent.RankStarted(key, start.Placement.Rank, 1));
        if (process.Kind == WorkloadKind.Serving && process.Placement.Rank == 0)
        {
            Later(own, world.Uniform(0.1, 3), () => process.Alive ? new AgentEvent.ReplicaReady(key, $"http://{Name}:{key.Attempt}") : new AgentEvent.Tick());
        }
    });

    private void SendReport(GangMemberReport report)
    {
        if (Reachable)
        {
            world.Carry(() => scheduler.Do((plane, _) =>
            {
                plane.Report(report, world.Now);
                return true;
            }, _ => { }));
        }
    }

    private void Renew(string own)
    {
        if (own != incarnation || state is null)
        {
            return;
        }

        world.After(options.Lease.TotalSeconds / 3, () => Renew(own));
        var sent = world.Now;
        var reports = AgentMachine.Reports(state);
        var offered = sendInventory ? inventory : null;
        Call(
            own,
            (plane, epoch) => (Renewal: plane.Renew(Name, own, "", offered, reports, world.Now), Epoch: epoch),
            answer =>
            {
                sendInventory = answer.Renewal.InventoryNeeded;
                if (!answer.Renewal.InventoryNeeded)
                {
                    Apply(new AgentEvent.LeaseRenewed(sent, answer.Epoch, answer.Renewal.Lease, answer.Renewal.DesiredVersion));
                }
            });
    }

    private void Pull(string own)
    {
        var sent = world.Now;
        Call(
            own,
            (plane, epoch) => (Wanted: plane.AssignmentsOf(Name, own), Epoch: epoch),
            answer =>
            {
                if (answer.Wanted is { } wanted)
                {
                    Apply(new AgentEvent.AssignmentsPulled(sent, answer.Epoch, wanted.Version, wanted.Assignments));
                }
            });
    }

    private void Call<T>(string own, Func<ControlPlane, long, T> handle, Action<T> answered)
    {
        if (!Reachable)
        {
            return;
        }

        world.CarryCall(() => scheduler.Do(handle, result => world.CarryCall(() =>
        {
            if (own == incarnation && state is not null && Reachable)
            {
                answered(result);
            }
        })));
    }

    private void Later(string own, double seconds, Func<AgentEvent> happened) => world.After(seconds, () =>
    {
        if (own == incarnation && state is not null)
        {
            Apply(happened());
        }
    });

    /// <summary>Once a second something may happen to the machine.</summary>
    private void Misfortune(string own)
    {
        if (own != incarnation || state is null)
        {
            return;
        }

        if (world.Chance(world.Faults.Partition))
        {
            unreachableUntil = world.Now + TimeSpan.FromSeconds(world.Uniform(0.5, 20));
        }

        if (world.Chance(world.Faults.AgentCrash))
        {
            Crash();
            return;
        }

        if (world.Chance(world.Faults.RankCrash))
        {
            processes.CrashOne(Name);
        }

        world.After(1, () => Misfortune(own));
    }

    /// <summary>The agent dies; its ranks notice that their agent is gone and end within their grace. A new run begins once they have.</summary>
    private void Crash()
    {
        Crashes++;
        state = null;
        incarnation = "";
        world.Record($"{Name} crash");
        double grace = processes.Orphan(Name);
        world.After(grace + world.Uniform(0, 10), Start);
    }
}
