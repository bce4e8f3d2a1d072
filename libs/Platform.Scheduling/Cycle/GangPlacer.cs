using Platform.Core.Gangs;
using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Finds devices for one whole gang. A bin is what a tensor group must stay within (a node, or all nodes that share a
/// topology label); groups go into as few and as near bins as can hold them, in rank order, so that ranks that talk
/// most (tensor, then data, then pipeline neighbours) are nearest.
/// </summary>
internal static class GangPlacer
{
    /// <summary>Levels of the topology from narrow to wide.</summary>
    private static readonly string[] Levels = ["node", "block", "rack", "zone"];

    /// <summary>
    /// Devices for every rank, or null when the gang does not fit as a whole. An elastic gang gets the widest of its widths
    /// that fits.
    /// </summary>
    public static GangPlacement? TryPlace(PendingGang gang, DeviceLedger ledger) => gang.Shape.AtEachWidth()
        .Select(shape => TryPlaceAtWidth(gang with { Shape = shape }, ledger)).FirstOrDefault(placement => placement is not null);

    private static GangPlacement? TryPlaceAtWidth(PendingGang gang, DeviceLedger ledger)
    {
        if (gang.AvoidNodes.Count > 0
            && TryPlace(gang, [.. ledger.Nodes.Where(node => !gang.AvoidNodes.Contains(node.Node.Name))]) is { } elsewhere)
        {
            return elsewhere;
        }

        return TryPlace(gang, ledger.Nodes);
    }

    /// <summary>Ranks of the shape that fit on these nodes when their distance does not matter.</summary>
    public static int CountSlots(GangShape shape, IEnumerable<NodeLedger> nodes) =>
        nodes.Sum(node => node.CountFit(shape.Rank, shape.Mesh.WorldSize));

    private static GangPlacement? TryPlace(PendingGang gang, IReadOnlyList<NodeLedger> nodes)
    {
        var shape = gang.Shape;
        int tensor = shape.Mesh.Tensor, groups = shape.Mesh.WorldSize / tensor;
        var bins = Bins(shape, nodes);
        foreach (var near in Neighbourhoods(shape, bins, groups))
        {
            if (Choose(near, groups) is { } chosen)
            {
                return new GangPlacement(gang.Gang, Assign(shape, chosen, groups));
            }
        }

        return null;
    }

    private static List<Bin> Bins(GangShape shape, IReadOnlyList<NodeLedger> nodes)
    {
        var bins = new List<Bin>();
        foreach (var domain in nodes.GroupBy(node => DomainOf(node.Node, shape.TensorTopology)))
        {
            var slots = domain.OrderBy(node => node.Node.Name, StringComparer.Ordinal)
                .SelectMany(node => node.Slots(shape.Rank, 1 << 20).Select(positions => new Slot(node.Node, [.. positions.Select(position => node.Node.Devices[position].Index)]))).ToList();
            if (slots.Count >= shape.Mesh.Tensor)
            {
                bins.Add(new Bin(domain.Key, slots, slots.Count / shape.Mesh.Tensor, slots[0].Node));
            }
        }

        return bins;
    }

    /// <summary>Sets of bins to try, the nearest first: each domain of each wider level that can hold the gang, then all.</summary>
    private static IEnumerable<IReadOnlyList<Bin>> Neighbourhoods(GangShape shape, List<Bin> bins, int groups)
    {
        foreach (string level in Levels.SkipWhile(level => level != shape.TensorTopology).Skip(1))
        {
            foreach (var domain in bins.Where(bin => bin.First.Topology.ContainsKey(level))
                .GroupBy(bin => bin.First.Topology[level])
                .Where(domain => domain.Sum(bin => bin.Groups) >= groups)
                .OrderBy(domain => domain.Sum(bin => bin.Groups)).ThenBy(domain => domain.Key, StringComparer.Ordinal))
            {
                yield return [.. domain];
            }
        }

        yield return bins;
    }

    /// <summary>Fewest bins that hold the groups, the last one as tight as can be; null when they do not.</summary>
    private static List<(Bin Bin, int Groups)>? Choose(IReadOnlyList<Bin> bins, int groups)
    {
        var left = bins.OrderByDescending(bin => bin.Groups).ThenBy(bin => bin.Slots.Count).ThenBy(bin => bin.Key, StringComparer.Ordinal).ToList();
        var chosen = new List<(Bin Bin, int Groups)>();
        while (groups > 0)
        {
            var tightest = left.Where(bin => bin.Groups >= groups)
                .OrderBy(bin => bin.Groups).ThenBy(bin => bin.Slots.Count).ThenBy(bin => bin.Key, StringComparer.Ordinal).FirstOrDefault();
            var next = tightest ?? left.FirstOrDefault();
            if (next is null)
            {
                return null;
            }

            int take = Math.Min(groups, next.Groups);
            chosen.Add((next, take));
            left.Remove(next);
            groups -= take;
        }

        return [.. chosen.OrderBy(entry => entry.Bin.Key, StringComparer.Ordinal)];
    }

    private static List<MemberPlacement> Assign(GangShape shape, List<(Bin Bin, int Groups)> chosen, int groups)
    {
        var members = new Dictionary<string, List<RankPlacement>>();
        var order = new List<string>();
        int rank = 0;
        foreach (var (bin, count) in chosen)
        {
            foreach (var slot in bin.Slots.Take(count * shape.Mesh.Tensor))
            {
                if (!members.TryGetValue(slot.Node.Name, out var ranks))
                {
                    members[slot.Node.Name] = ranks = [];
                    order.Add(slot.Node.Name);
                }

                ranks.Add(new RankPlacement(rank++, slot.Devices, shape.DeviceMilli));
            }
        }

        return rank == groups * shape.Mesh.Tensor
            ? [.. order.Select(node => new MemberPlacement(node, members[node]))]
            : throw new InvalidOperationException($"Expected {groups * shape.Mesh.Tensor} ranks to be placed, found {rank}.");
    }

    private static string DomainOf(NodeSnapshot node, string level) =>
        level != "node" && node.Topology.TryGetValue(level, out string? domain) ? $"{level}/{domain}" : $"node/{node.Name}";

    private sealed record Slot(NodeSnapshot Node, IReadOnlyList<int> Devices);

    private sealed record Bin(string Key, IReadOnlyList<Slot> Slots, int Groups, NodeSnapshot First);
}
