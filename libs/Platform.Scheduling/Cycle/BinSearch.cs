using Platform.Core.Gangs;
using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// The search for places spelled out over all nodes, one after the other. A bin is what a tensor group must stay within: a
/// node, or all nodes that share a topology label. It serves tensor groups wider than a node, and is what
/// <see cref="NodeSearch"/> is compared with.
/// </summary>
internal sealed class BinSearch(GroupLayout layout, PlacementPolicy policy)
{
    /// <summary>Places for the whole gang on these nodes; null when it does not fit.</summary>
    public List<MemberPlacement>? Place(IReadOnlyList<NodeLedger> nodes) => Find(nodes) is { } chosen ? Assign(chosen) : null;

    private List<Share>? Find(IReadOnlyList<NodeLedger> nodes)
    {
        var bins = Bins(nodes);
        return Neighbourhoods(bins).Select(Fill).FirstOrDefault(filled => filled is not null);
    }

    /// <summary>Devices for each rank of the groups that each bin got.</summary>
    private List<MemberPlacement> Assign(List<Share> chosen)
    {
        var members = new Dictionary<string, List<RankPlacement>>();
        foreach (var (bin, own) in chosen)
        {
            int next = 0, tensor = layout.Tensor;
            foreach (var (node, positions) in Slots(bin, own.Count * tensor))
            {
                if (!members.TryGetValue(node.Node.Name, out var ranks))
                {
                    members[node.Node.Name] = ranks = [];
                }

                ranks.Add(new RankPlacement(
                    (own[next / tensor] * tensor) + (next % tensor), [.. positions.Select(position => node.Node.Devices[position].Index)], layout.Rank.DeviceMilli));
                next++;
            }

            if (next != own.Count * tensor)
            {
                throw new InvalidOperationException($"Expected {own.Count * tensor} ranks in {bin.Key}, found {next}.");
            }
        }

        return [.. members.Select(member => new MemberPlacement(member.Key, [.. member.Value.OrderBy(placed => placed.Rank)])).OrderBy(member => member.Ranks[0].Rank)];
    }

    private List<Bin> Bins(IReadOnlyList<NodeLedger> nodes)
    {
        var bins = new List<Bin>();
        if (layout.TensorLevel == TopologyLevels.Node)
        {
            int wanted = layout.Groups * layout.Tensor;
            foreach (var node in nodes)
            {
                int fit = node.CountFit(layout.Rank, wanted) / layout.Tensor;
                if (fit > 0)
                {
                    bins.Add(new Bin(node.Node.Name, [node], fit, TopologyLevels.OrderKey(node.Node)));
                }
            }

            return bins;
        }

        foreach (var domain in nodes.GroupBy(node => TopologyLevels.DomainOf(node.Node, layout.TensorLevel)))
        {
            List<NodeLedger> own = [.. domain.OrderBy(node => TopologyLevels.OrderKey(node.Node), StringComparer.Ordinal)];
            int fit = own.Sum(node => node.CountFit(layout.Rank, 1 << 20)) / layout.Tensor;
            if (fit > 0)
            {
                bins.Add(new Bin(domain.Key, own, fit, TopologyLevels.OrderKey(own[0].Node)));
            }
        }

        return bins;
    }

    /// <summary>Sets of bins to try, the nearest first: each domain of each level that can hold the gang, then all.</summary>
    private IEnumerable<IReadOnlyList<Bin>> Neighbourhoods(List<Bin> bins)
    {
        // A whole gang in one bin is nearest of all, whatever the bin's surroundings.
        List<Bin> holdAll = [.. bins.Where(bin => bin.Groups >= layout.Groups)];
        if (holdAll.Count > 0)
        {
            yield return [Cheapest(holdAll, layout.Groups)];
        }

        foreach (string level in layout.Levels)
        {
            foreach (var domain in bins.Where(bin => bin.First.Topology.ContainsKey(level))
                .GroupBy(bin => bin.First.Topology[level])
                .Where(domain => domain.Sum(bin => bin.Groups) >= layout.Groups)
                .OrderBy(domain => domain.Sum(bin => bin.Groups)).ThenBy(domain => domain.Key, StringComparer.Ordinal))
            {
                yield return [.. domain];
            }
        }

        if (layout.GangLevel is null)
        {
            yield return bins;
        }
    }

    private List<Share>? Fill(IReadOnlyList<Bin> bins)
    {
        if (!layout.HasUnits || layout.UnitLevel is not { } level)
        {
            return Choose(bins, layout.Groups) is { } whole ? Number(whole, Enumerable.Range(0, layout.Groups)) : null;
        }

        // Units of groups that must stay together: as few domains as hold them, the last as tight as can be.
        var domains = bins.GroupBy(bin => TopologyLevels.DomainOf(bin.First, level))
            .Select(domain => (domain.Key, Bins: domain.ToList(), Units: domain.Sum(bin => bin.Groups) / layout.GroupsPerUnit, Order: domain.Select(bin => bin.OrderKey).Min(StringComparer.Ordinal) ?? ""))
            .Where(domain => domain.Units > 0).OrderByDescending(domain => domain.Units).ThenBy(domain => domain.Key, StringComparer.Ordinal).ToList();
        int left = layout.Groups / layout.GroupsPerUnit;
        var taken = new List<(List<Bin> Bins, int Units, string Order)>();
        while (left > 0)
        {
            int at = domains.FindLastIndex(domain => domain.Units >= left);
            at = at >= 0 ? at : domains.Count > 0 ? 0 : -1;
            if (at < 0)
            {
                return null;
            }

            int units = Math.Min(left, domains[at].Units);
            taken.Add((domains[at].Bins, units, domains[at].Order));
            domains.RemoveAt(at);
            left -= units;
        }

        var shares = new List<Share>();
        int unit = 0;
        foreach (var (own, units, _) in taken.OrderBy(domain => domain.Order, StringComparer.Ordinal))
        {
            var chosen = Choose(own, units * layout.GroupsPerUnit) ?? throw new InvalidOperationException("A domain does not hold what its bins hold.");
            shares.AddRange(Number(chosen, layout.GroupsOf(unit, units)));
            unit += units;
        }

        return shares;
    }

    /// <summary>Fewest bins that hold so many groups, the last one as tight as can be; null when they do not.</summary>
    private List<(Bin Bin, int Groups)>? Choose(IReadOnlyList<Bin> bins, int wanted)
    {
        if (bins.Sum(bin => bin.Groups) < wanted)
        {
            return null;
        }

        var left = bins.OrderByDescending(bin => bin.Groups).ThenBy(bin => bin.OrderKey, StringComparer.Ordinal).ToList();
        var chosen = new List<(Bin Bin, int Groups)>();
        while (wanted > 0)
        {
            int tightest = left.FindLastIndex(bin => bin.Groups >= wanted);
            Bin next = tightest < 0 ? left[0] : Cheapest([.. left.Where(bin => bin.Groups >= wanted && bin.Groups == left[tightest].Groups)], wanted);
            int take = Math.Min(wanted, next.Groups);
            chosen.Add((next, take));
            left.Remove(next);
            wanted -= take;
        }

        return [.. chosen.OrderBy(entry => entry.Bin.OrderKey, StringComparer.Ordinal)];
    }

    private static List<Share> Number(List<(Bin Bin, int Groups)> chosen, IEnumerable<int> numbers)
    {
        using var next = numbers.GetEnumerator();
        return [.. chosen.Select(entry => new Share(entry.Bin, [.. Enumerable.Range(0, entry.Groups).Select(_ => next.MoveNext() ? next.Current : throw new InvalidOperationException("More places than groups."))]))];
    }

    /// <summary>The bin where so many groups cost least by the policy.</summary>
    private Bin Cheapest(List<Bin> candidates, int wanted)
    {
        if (candidates.Count == 1 || candidates[0].Nodes.Count > 1)
        {
            return candidates.OrderBy(bin => bin.Groups).ThenBy(bin => bin.OrderKey, StringComparer.Ordinal).First();
        }

        return candidates.OrderBy(bin => bin.Nodes[0].CostOf(layout.Rank, wanted * layout.Tensor, policy)).ThenBy(bin => bin.OrderKey, StringComparer.Ordinal).First();
    }

    private IEnumerable<(NodeLedger Node, int[] Positions)> Slots(Bin bin, int wanted) => bin.Nodes.Count == 1
        ? bin.Nodes[0].SlotsFor(layout.Rank, wanted, policy).Select(positions => (bin.Nodes[0], positions))
        : bin.Nodes.SelectMany(node => node.Slots(layout.Rank, wanted).Select(positions => (node, positions))).Take(wanted);

    /// <summary>What a tensor group must stay within.</summary>
    internal sealed record Bin(string Key, IReadOnlyList<NodeLedger> Nodes, int Groups, string OrderKey)
    {
        public NodeSnapshot First => Nodes[0].Node;
    }

    /// <summary>Groups that a bin gets, in order.</summary>
    internal sealed record Share(Bin Bin, IReadOnlyList<int> Groups);
}
