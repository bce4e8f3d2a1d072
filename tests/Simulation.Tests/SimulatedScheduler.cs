using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;

namespace Platform.Simulation.Tests;

/// <summary>The scheduler's process around the real control plane: it commits to a store that survives it, and may die between any two steps.</summary>
internal sealed class SimulatedScheduler(SimulatedWorld world, ControlOptions options, Action<GangAssignment> send)
{
    private const double TickSeconds = 0.5;
    private readonly SortedDictionary<string, DeploymentState> deployments = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, NodeState> nodes = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, (string Deployment, int Revision)> replicas = new(StringComparer.Ordinal);
    private ControlPlane? plane;
    private int life;
    private int tokens;

    /// <summary>What is committed.</summary>
    public SortedDictionary<string, GangState> Gangs { get; } = new(StringComparer.Ordinal);

    public bool HasDeployments => deployments.Count > 0;

    public int Crashes { get; private set; }

    public long Epoch { get; private set; }

    public void Start()
    {
        Epoch++;
        int own = ++life;
        var record = new ControlRecord(
            [.. Gangs.Values.Where(gang => !gang.IsTerminal).Select(gang => GangJson.Read<GangState>(GangJson.Write(gang)))],
            [.. nodes.Values], [.. deployments.Values], [.. replicas.Select(entry => (entry.Key, entry.Value.Deployment, entry.Value.Revision))]);
        plane = new ControlPlane(record, options, Epoch, () => $"token-{++tokens}", _ => null, world.Now);
        world.Record($"scheduler {Epoch}");
        Tick(own);
    }

    /// <summary>Does work as the real loop does: apply, settle, commit, answer, send. The answer is given only if the process lives that long.</summary>
    public void Do<T>(Func<ControlPlane, long, T> work, Action<T> answer)
    {
        if (plane is not { } running)
        {
            return;
        }

        var result = work(running, Epoch);
        running.Settle(world.Now);
        if (world.Chance(world.Faults.SchedulerCrash / 20))
        {
            Crash();
            return;
        }

        var changes = running.TakeChanges();
        Commit(changes);
        if (!changes.IsEmpty)
        {
            foreach (string violation in Invariants.Check(Gangs.Values, nodes.Values, world.Now, options))
            {
                world.Violated(violation);
            }
        }

        if (world.Chance(world.Faults.SchedulerCrash / 20))
        {
            Crash();
            return;
        }

        foreach (var command in changes.Commands)
        {
            send(command);
        }

        answer(result);
    }

    private void Tick(int own)
    {
        if (own != life)
        {
            return;
        }

        if (world.Chance(world.Faults.SchedulerCrash))
        {
            Crash();
            return;
        }

        world.After(TickSeconds, () => Tick(own));
        Do((running, _) =>
        {
            running.Tick(world.Now);
            return true;
        }, _ => { });
    }

    private void Crash()
    {
        Crashes++;
        plane = null;
        life++;
        world.Record("scheduler crash");
        world.After(world.Uniform(0.5, 8), Start);
    }

    private void Commit(ControlChanges changes)
    {
        foreach (var gang in changes.Gangs)
        {
            if (Gangs.TryGetValue(gang.Gang, out var before))
            {
                if (before.IsTerminal)
                {
                    world.Violated($"{gang.Gang} was {before.Stage} and became {gang.Stage}.");
                }

                if ((before.Attempt?.Number ?? 0) > (gang.Attempt?.Number ?? 0))
                {
                    world.Violated($"{gang.Gang} went back from attempt {before.Attempt?.Number} to {gang.Attempt?.Number}.");
                }

                if ((before.LatestCheckpoint?.Step ?? 0) > (gang.LatestCheckpoint?.Step ?? 0))
                {
                    world.Violated($"{gang.Gang} went back from the checkpoint of step {before.LatestCheckpoint?.Step} to {gang.LatestCheckpoint?.Step}.");
                }

                if (gang.LatestCheckpoint is { } latest && (latest.Attempt, latest.Step) != (before.LatestCheckpoint?.Attempt, before.LatestCheckpoint?.Step) && latest.Attempt != gang.Attempt?.Number)
                {
                    world.Violated($"{gang.Gang} took a checkpoint of attempt {latest.Attempt} in attempt {gang.Attempt?.Number}.");
                }
            }

            world.Record($"{gang.Gang} {gang.Stage} {gang.Attempt?.Number}");
            Gangs[gang.Gang] = gang;
        }

        foreach (var node in changes.Nodes)
        {
            nodes[node.Node] = node;
        }

        foreach (var deployment in changes.Deployments)
        {
            deployments[deployment.Key] = deployment;
        }

        foreach (string key in changes.DeletedDeployments)
        {
            deployments.Remove(key);
        }

        foreach (var replica in changes.Replicas)
        {
            replicas[replica.Id] = (replica.Deployment, replica.Revision);
        }

        foreach (string id in changes.ForgottenReplicas)
        {
            replicas.Remove(id);
        }
    }
}
