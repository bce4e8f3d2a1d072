using Platform.Core.Gangs;
using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Finds devices for one whole gang. A bin is what a tensor group must stay within (a node, or all nodes that share a
/// topology label). Groups go into as few and as near bins as can hold them, in rank order, so that ranks that talk most
/// (tensor, then data, then pipeline neighbours) are nearest; levels required of data and pipeline groups bound the search.
/// Of nodes that are equally good by that, the policy chooses.
/// </summary>
internal static class GangPlacer
{
    /// <summary>
    /// Devices for every rank, or null when the gang does not fit as a whole. An elastic gang gets the widest of its widths
    /// that fits.
    /// </summary>
    public static GangPlacement? TryPlace(PendingGang gang, DeviceLedger ledger) => gang.Shape.AtEachWidth()
        .Select(shape => TryPlaceAtWidth(gang with { Shape = shape }, ledger)).FirstOrDefault(placement => placement is not null);

    /// <summary>Ranks of the shape that fit on these nodes when their distance does not matter.</summary>
    public static int CountSlots(GangShape shape, IEnumerable<NodeLedger> nodes)
    {
        var rank = shape.Rank;
        return nodes.Sum(node => node.CountFit(rank, shape.Mesh.WorldSize));
    }

    private static GangPlacement? TryPlaceAtWidth(PendingGang gang, DeviceLedger ledger)
    {
        if (gang.AvoidNodes.Count > 0
            && TryPlace(gang, [.. ledger.Nodes.Where(node => !gang.AvoidNodes.Contains(node.Node.Name))], ledger.Policy) is { } elsewhere)
        {
            return elsewhere;
        }

        return TryPlace(gang, ledger.Nodes, ledger.Policy);
    }

    private static GangPlacement? TryPlace(PendingGang gang, IReadOnlyList<NodeLedger> nodes, PlacementPolicy policy)
    {
        var search = new Search(gang.Shape, policy);
        return search.Find(nodes) is { } chosen ? new GangPlacement(gang.Gang, search.Assign(chosen)) : null;
    }

    /// <summary>What a tensor group must stay within.</summary>
    private sealed record Bin(string Key, IReadOnlyList<NodeLedger> Nodes, int Groups, string OrderKey)
    {
        public NodeSnapshot First => Nodes[0].Node;
    }

    /// <summary>Groups that a bin gets, in order.</summary>
    private sealed record Share(Bin Bin, IReadOnlyList<int> Groups);

    /// <summary>One gang's search. Groups are numbered in rank order: data fastest, then pipeline.</summary>
    private sealed class Search
    {
        private readonly GangShape shape;
        private readonly RankRequest rank;
        private readonly PlacementPolicy policy;
        private readonly int groups;
        private readonly int groupsPerUnit;
        private readonly string? unitLevel;
        private readonly string? gangLevel;

        public Search(GangShape shape, PlacementPolicy policy)
        {
            (this.shape, this.policy, rank) = (shape, policy, shape.Rank);
            groups = shape.Mesh.Pipeline * shape.Mesh.Data;
            (groupsPerUnit, unitLevel, gangLevel) = (shape.DataTopology, shape.PipelineTopology) switch
            {
                (null, null) => (groups, null, null),
                ({ } data, null) => (shape.Mesh.Data, data, null),
                (null, { } pipeline) => (shape.Mesh.Pipeline, pipeline, null),
                ({ } data, { } pipeline) when TopologyLevels.Width(data) < TopologyLevels.Width(pipeline) => (shape.Mesh.Data, data, pipeline),
                ({ } data, { } pipeline) when TopologyLevels.Width(pipeline) < TopologyLevels.Width(data) => (shape.Mesh.Pipeline, pipeline, data),
                ({ } both, _) => (groups, (string?)null, (string?)both),
            };
        }

        private bool UnitsAreStages => unitLevel is not null && unitLevel == shape.DataTopology && groupsPerUnit == shape.Mesh.Data;

        public List<Share>? Find(IReadOnlyList<NodeLedger> nodes)
        {
            var bins = Bins(nodes);
            return Neighbourhoods(bins).Select(Fill).FirstOrDefault(filled => filled is not null);
        }

        /// <summary>Devices for each rank of the groups that each bin got.</summary>
        public List<MemberPlacement> Assign(List<Share> chosen)
        {
            var members = new Dictionary<string, List<RankPlacement>>();
            foreach (var (bin, own) in chosen)
            {
                int next = 0, tensor = shape.Mesh.Tensor;
                foreach (var (node, positions) in Slots(bin, own.Count * tensor))
                {
                    if (!members.TryGetValue(node.Node.Name, out var ranks))
                    {
                        members[node.Node.Name] = ranks = [];
                    }

                    ranks.Add(new RankPlacement(
                        (own[next / tensor] * tensor) + (next % tensor), [.. positions.Select(position => node.Node.Devices[position].Index)], rank.DeviceMilli));
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
            if (shape.TensorTopology == TopologyLevels.Node)
            {
                int wanted = groups * shape.Mesh.Tensor;
                foreach (var node in nodes)
                {
                    int fit = node.CountFit(rank, wanted) / shape.Mesh.Tensor;
                    if (fit > 0)
                    {
                        bins.Add(new Bin(node.Node.Name, [node], fit, TopologyLevels.OrderKey(node.Node)));
                    }
                }

                return bins;
            }

            foreach (var domain in nodes.GroupBy(node => TopologyLevels.DomainOf(node.Node, shape.TensorTopology)))
            {
                List<NodeLedger> own = [.. domain.OrderBy(node => TopologyLevels.OrderKey(node.Node), StringComparer.Ordinal)];
                int fit = own.Sum(node => node.CountFit(rank, 1 << 20)) / shape.Mesh.Tensor;
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
            List<Bin> holdAll = [.. bins.Where(bin => bin.Groups >= groups)];
            if (holdAll.Count > 0)
            {
                yield return [Cheapest(holdAll, groups)];
            }

            foreach (string level in TopologyLevels.Wider.Where(level => TopologyLevels.Width(level) > TopologyLevels.Width(shape.TensorTopology)))
            {
                if (gangLevel is not null && TopologyLevels.Width(level) > TopologyLevels.Width(gangLevel))
                {
                    yield break;
                }

                foreach (var domain in bins.Where(bin => bin.First.Topology.ContainsKey(level))
                    .GroupBy(bin => bin.First.Topology[level])
                    .Where(domain => domain.Sum(bin => bin.Groups) >= groups)
                    .OrderBy(domain => domain.Sum(bin => bin.Groups)).ThenBy(domain => domain.Key, StringComparer.Ordinal))
                {
                    yield return [.. domain];
                }
            }

            if (gangLevel is null)
            {
                yield return bins;
            }
        }

        private List<Share>? Fill(IReadOnlyList<Bin> bins)
        {
            if (unitLevel is null || TopologyLevels.Width(unitLevel) < TopologyLevels.Width(shape.TensorTopology))
            {
                return Choose(bins, groups) is { } whole ? Number(whole, Enumerable.Range(0, groups)) : null;
            }

            // Units of groups that must stay together: as few domains as hold them, the last as tight as can be.
            var domains = bins.GroupBy(bin => TopologyLevels.DomainOf(bin.First, unitLevel))
                .Select(domain => (domain.Key, Bins: domain.ToList(), Units: domain.Sum(bin => bin.Groups) / groupsPerUnit, Order: domain.Min(bin => bin.OrderKey) ?? ""))
                .Where(domain => domain.Units > 0).OrderByDescending(domain => domain.Units).ThenBy(domain => domain.Key, StringComparer.Ordinal).ToList();
            int left = groups / groupsPerUnit;
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
                var chosen = Choose(own, units * groupsPerUnit) ?? throw new InvalidOperationException("A domain does not hold what its bins hold.");
                shares.AddRange(Number(chosen, Enumerable.Range(unit, units).SelectMany(GroupsOf)));
                unit += units;
            }

            return shares;
        }

        private IEnumerable<int> GroupsOf(int unit) => UnitsAreStages
            ? Enumerable.Range(unit * shape.Mesh.Data, shape.Mesh.Data)
            : Enumerable.Range(0, shape.Mesh.Pipeline).Select(stage => unit + (shape.Mesh.Data * stage));

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

            return candidates.OrderBy(bin => CostOf(bin.Nodes[0], wanted * shape.Mesh.Tensor)).ThenBy(bin => bin.OrderKey, StringComparer.Ordinal).First();
        }

        private double CostOf(NodeLedger node, int ranks)
        {
            Span<int> positions = stackalloc int[rank.Devices];
            if (ranks == 1)
            {
                return policy.TryChoose(node, rank, positions, out double cost) ? cost : double.PositiveInfinity;
            }

            // Several ranks are judged together, as one that takes all their devices.
            double sum = 0;
            var slots = node.Slots(rank, ranks);
            foreach (int[] slot in slots)
            {
                sum += policy.CostAt(node, rank, slot);
                node.Take(rank, slot);
            }

            foreach (int[] slot in slots)
            {
                node.Release(rank, slot);
            }

            return sum;
        }

        private IEnumerable<(NodeLedger Node, int[] Positions)> Slots(Bin bin, int wanted)
        {
            if (wanted == 1 && bin.Nodes.Count == 1)
            {
                int[] positions = new int[rank.Devices];
                return policy.TryChoose(bin.Nodes[0], rank, positions, out _) ? [(bin.Nodes[0], positions)] : [];
            }

            return bin.Nodes.SelectMany(node => node.Slots(rank, wanted).Select(positions => (node, positions))).Take(wanted);
        }
    }
}
