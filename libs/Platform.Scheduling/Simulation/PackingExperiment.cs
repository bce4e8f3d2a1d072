using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Simulation;

/// <summary>
/// The packing experiment of Weng et al., "Beware of Fragmentation" (USENIX ATC 2023): tasks arrive one by one in shuffled
/// order and never leave; tasks drawn at random from the list are appended until they ask for a multiple of the cluster's
/// devices; a task that fits nowhere is dropped.
/// </summary>
public static class PackingExperiment
{
    /// <summary>Runs one seed.</summary>
    /// <param name="trace">Cluster and tasks.</param>
    /// <param name="policy">Name of the policy.</param>
    /// <param name="demand">Devices asked for over devices that exist.</param>
    /// <param name="seed">Seed of order and draws.</param>
    public static PackingResult Run(ClusterTrace trace, string policy, double demand, int seed)
    {
        var random = new SeededRandom((ulong)seed);
        var nodes = trace.Cluster.Nodes.Select((node, index) => new NodeLedger(node, index)).ToList();
        var mix = WorkloadMix.Of(trace.Tasks);
        var board = new PlacementBoard(nodes, PlacementPolicies.Create(policy, nodes, mix), random.Below);
        long capacity = 1000L * nodes.Sum(node => node.Node.Devices.Count), allocated = 0;
        int placed = 0, dropped = 0;
        foreach (var task in Arrivals(trace.Tasks, (long)(capacity * demand), random))
        {
            if (board.TryTake(task, out _) is not null)
            {
                allocated += task.TotalMilli;
                placed++;
            }
            else
            {
                dropped++;
            }
        }

        return new PackingResult(seed, capacity == 0 ? 0 : 100.0 * allocated / capacity, placed, dropped);
    }

    private static List<RankRequest> Arrivals(IReadOnlyList<RankRequest> tasks, long milli, SeededRandom random)
    {
        var arrivals = tasks.ToList();
        for (int at = arrivals.Count - 1; at > 0; at--)
        {
            int other = random.Below(at + 1);
            (arrivals[at], arrivals[other]) = (arrivals[other], arrivals[at]);
        }

        long asked = arrivals.Sum(task => (long)task.TotalMilli);
        if (tasks.Any(task => task.TotalMilli > 0))
        {
            while (asked < milli)
            {
                var clone = tasks[random.Below(tasks.Count)];
                arrivals.Add(clone);
                asked += clone.TotalMilli;
            }
        }

        return arrivals;
    }
}

/// <summary>What one run of the experiment came to.</summary>
/// <param name="Seed">Its seed.</param>
/// <param name="AllocatedPercent">Devices allocated when arrivals ended, in percent of all.</param>
/// <param name="Placed">Tasks that found a place.</param>
/// <param name="Dropped">Tasks that did not.</param>
public sealed record PackingResult(int Seed, double AllocatedPercent, int Placed, int Dropped);
