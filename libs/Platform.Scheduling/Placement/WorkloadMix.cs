namespace Platform.Scheduling.Placement;

/// <summary>What the cluster is usually asked for: kinds of rank by popularity.</summary>
public sealed class WorkloadMix
{
    /// <summary>Share of the ranks that the typical kinds cover.</summary>
    public const double Popularity = 0.95;

    private WorkloadMix(IReadOnlyList<(RankRequest Request, double Weight)> typical) => Typical = typical;

    /// <summary>The kinds that make up 95 % of all ranks, the most popular first; weights add up to 1.</summary>
    public IReadOnlyList<(RankRequest Request, double Weight)> Typical { get; }

    /// <summary>Nothing is known.</summary>
    public static WorkloadMix Unknown { get; } = new([]);

    /// <summary>The mix of these ranks. Host memory does not tell kinds apart: it is hardly ever what runs out.</summary>
    public static WorkloadMix Of(IEnumerable<RankRequest> ranks) =>
        OfCounts(ranks.CountBy(rank => rank with { MemoryBytes = 0 }).Select(entry => (entry.Key, (double)entry.Value)));

    /// <summary>The mix of kinds of rank by how often they were seen.</summary>
    public static WorkloadMix OfCounts(IEnumerable<(RankRequest Request, double Count)> seen)
    {
        var ordered = seen.OrderByDescending(entry => entry.Count).ThenBy(entry => entry.Request.ToString(), StringComparer.Ordinal).ToList();
        double total = ordered.Sum(entry => entry.Count), covered = 0;
        var typical = new List<(RankRequest Request, double Weight)>();
        foreach (var (request, count) in ordered)
        {
            if (covered >= Popularity * total)
            {
                break;
            }

            covered += count;
            typical.Add((request, count));
        }

        return new WorkloadMix([.. typical.Select(entry => (entry.Request, entry.Weight / covered))]);
    }
}
