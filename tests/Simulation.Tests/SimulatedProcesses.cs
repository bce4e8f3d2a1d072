using Platform.Core.Gangs;

namespace Platform.Simulation.Tests;

/// <summary>All processes of all machines, what they do, and the rules that are about them: no device is used twice, no two attempts of a gang live at once, and no partial gang lives long.</summary>
internal sealed class SimulatedProcesses(SimulatedWorld world, TimeSpan partialGrace)
{
    // Just below the skew, which is there for them: a rank that lost its agent must have ended when the node counts as gone.
    private const double OrphanGrace = 2.8;
    private readonly List<(SimulatedProcess Process, SimulatedNode Machine, string Incarnation)> alive = [];
    private readonly Dictionary<(string Gang, int Attempt), DateTimeOffset> partialSince = [];

    public int Started { get; private set; }

    public int LiveCount => alive.Count;

    public SimulatedProcess Start(GangAssignment assignment, RankPlacement placement, SimulatedNode machine, string incarnation)
    {
        var process = new SimulatedProcess(assignment.Gang, assignment.Attempt, assignment.WorldSize, machine.Name, placement, assignment.Kind);
        alive.Add((process, machine, incarnation));
        Started++;
        CheckDevices(machine.Name);
        if (alive.FirstOrDefault(entry => entry.Process.Gang == process.Gang && entry.Process.Attempt != process.Attempt).Process is { } other)
        {
            world.Violated($"Attempt {process.Attempt} of {process.Gang} starts on {machine.Name} while rank {other.Placement.Rank} of attempt {other.Attempt} lives on {other.Node}.");
        }

        var key = (process.Gang, process.Attempt);
        if (Of(key).Count == process.WorldSize)
        {
            if (process.Kind == WorkloadKind.Training)
            {
                Train(key, Resumed(assignment));
            }
        }

        return process;
    }

    /// <summary>Ranks may do as they are asked, soon or not at all.</summary>
    public void AskToStop(string node, string gang, int attempt)
    {
        foreach (var (process, _, _) in On(node, gang, attempt))
        {
            process.AskedToStop = true;
            if (world.Chance(0.8))
            {
                world.After(world.Uniform(0.01, 3), () => End(process, 75));
            }
        }
    }

    public void Kill(string node, string gang, int attempt)
    {
        foreach (var (process, _, _) in On(node, gang, attempt))
        {
            world.After(world.Uniform(0.001, 0.1), () => End(process, 137));
        }
    }

    public void CrashOne(string node)
    {
        var candidates = alive.Where(entry => entry.Process.Node == node).ToList();
        if (candidates.Count > 0)
        {
            End(candidates[world.Pick(candidates.Count)].Process, 139);
        }
    }

    /// <summary>The agent of a node is gone; returns how long its processes may still live.</summary>
    public double Orphan(string node)
    {
        foreach (var (process, _, _) in alive.Where(entry => entry.Process.Node == node).ToList())
        {
            world.After(world.Chance(0.5) ? OrphanGrace : world.Uniform(0, OrphanGrace), () => End(process, 1));
        }

        return OrphanGrace;
    }

    /// <summary>Whether a gang runs in part for longer than it may.</summary>
    public void CheckPartialGangs()
    {
        var live = alive.GroupBy(entry => (entry.Process.Gang, entry.Process.Attempt)).ToDictionary(group => group.Key, group => group.ToList());
        foreach (var key in partialSince.Keys.Where(key => !live.ContainsKey(key)).ToList())
        {
            partialSince.Remove(key);
        }

        foreach (var (key, entries) in live)
        {
            if (entries.Count == entries[0].Process.WorldSize)
            {
                partialSince.Remove(key);
            }
            else if (!partialSince.TryGetValue(key, out var since))
            {
                partialSince[key] = world.Now;
            }
            else if (world.Now - since > partialGrace)
            {
                world.Violated($"{entries.Count} of {entries[0].Process.WorldSize} ranks of {key.Gang} attempt {key.Attempt} run since {(since - SimulatedWorld.Begin).TotalSeconds:0.0} s.");
            }
        }
    }

    private void CheckDevices(string node)
    {
        foreach (var device in alive.Where(entry => entry.Process.Node == node)
            .SelectMany(entry => entry.Process.Placement.Devices.Select(index => (index, entry.Process))).GroupBy(use => use.index))
        {
            if (device.Sum(use => use.Process.Placement.DeviceMilli) > 1000)
            {
                world.Violated($"Device {device.Key} of {node} is used by {string.Join(" and ", device.Select(use => $"{use.Process.Gang}#{use.Process.Attempt}/{use.Process.Placement.Rank}"))}.");
            }
        }
    }

    /// <summary>Trains for a while, saving now and then, and ends well.</summary>
    private void Train((string Gang, int Attempt) key, int from)
    {
        int steps = 4;
        double seconds = 0;
        for (int step = from + 1; step <= steps; step++)
        {
            seconds += world.Uniform(0.5, 4);
            int saved = step;
            world.After(seconds, () =>
            {
                var ranks = Of(key);
                if (ranks.Count > 0 && ranks.Count == ranks[0].Process.WorldSize && ranks.FirstOrDefault(entry => entry.Process.Placement.Rank == 0) is { Process: { } first, Machine: { } machine })
                {
                    machine.Commit(first, saved);
                }
            });
        }

        world.After(seconds + 1, () =>
        {
            if (Of(key) is { Count: > 0 } ranks && ranks.Count == ranks[0].Process.WorldSize)
            {
                foreach (var (process, _, _) in ranks)
                {
                    world.After(world.Uniform(0.01, 2), () => End(process, 0));
                }
            }
        });
    }

    private static int Resumed(GangAssignment assignment) =>
        assignment.ResumeFrom is { } directory ? int.Parse(directory[(directory.LastIndexOf('/') + 1)..]) : 0;

    private void End(SimulatedProcess process, int code)
    {
        int index = alive.FindIndex(entry => entry.Process == process);
        if (index < 0)
        {
            return;
        }

        var (_, machine, incarnation) = alive[index];
        alive.RemoveAt(index);
        process.Alive = false;
        world.Record($"{process.Gang}#{process.Attempt}/{process.Placement.Rank} ends {code}");
        if (code is not (0 or 75))
        {
            // Its peers wait in a collective that never ends, notice, and fail too.
            foreach (var (peer, _, _) in Of((process.Gang, process.Attempt)))
            {
                if (world.Chance(0.5))
                {
                    world.After(world.Uniform(0.1, 5), () => End(peer, 1));
                }
            }
        }

        world.After(world.Uniform(0.001, 0.05), () => machine.Exited(process, code, incarnation));
    }

    private List<(SimulatedProcess Process, SimulatedNode Machine, string Incarnation)> Of((string Gang, int Attempt) key) =>
        [.. alive.Where(entry => entry.Process.Gang == key.Gang && entry.Process.Attempt == key.Attempt)];

    private List<(SimulatedProcess Process, SimulatedNode Machine, string Incarnation)> On(string node, string gang, int attempt) =>
        [.. alive.Where(entry => entry.Process.Node == node && entry.Process.Gang == gang && entry.Process.Attempt == attempt)];
}
