using Platform.Core.Gangs;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// The search for places of tensor groups that stay within a node, by the counts of a <see cref="FitIndex"/>: its work grows
/// with the domains and with the nodes that the gang gets, not with the cluster. It finds the places that
/// <see cref="BinSearch"/> finds.
/// </summary>
internal sealed class NodeSearch
{
    private readonly GroupLayout layout;
    private readonly DeviceLedger ledger;
    private readonly FitIndex fit;
    private readonly int[] placeOf;
    private readonly int[] nodeAt;

    public NodeSearch(GroupLayout layout, DeviceLedger ledger)
    {
        (this.layout, this.ledger) = (layout, ledger);
        fit = ledger.Fit(layout.Rank, layout.Tensor);
        (placeOf, nodeAt) = (ledger.Map.PlaceOf, ledger.Map.NodeAt);
    }

    /// <summary>Places for the whole gang; null when it does not fit.</summary>
    public IReadOnlyList<MemberPlacement>? Place() => Find() is { } chosen ? Assign(chosen) : null;

    /// <summary>Whether there are places for the whole gang.</summary>
    public bool Fits() => Find() is not null;

    /// <summary>Nodes with the number of groups that each gets, in the order in which groups are numbered.</summary>
    private List<(int Node, int Groups)>? Find()
    {
        if (fit.Total < layout.Groups)
        {
            return null;
        }

        // A whole gang on one node is nearest of all, whatever the node's surroundings.
        int whole = fit.FirstOf(layout.Groups);
        if (whole < fit.Sizes.Count)
        {
            return [(Cheapest(whole, fit.Sizes.Count, null, 0, layout.Groups), layout.Groups)];
        }

        foreach (string level in layout.Levels)
        {
            var (domains, sums) = fit.Level(level);
            if (FirstIn(domains, sums) is { } found)
            {
                return found;
            }
        }

        return layout.GangLevel is null ? Fill(null, 0) : null;
    }

    /// <summary>In the domain of a level that holds the gang with the least to spare; null when none does.</summary>
    private List<(int Node, int Groups)>? FirstIn(TopologyDomains domains, long[] sums)
    {
        List<int>? candidates = null;
        for (int domain = 0; domain < domains.Unlabelled; domain++)
        {
            if (sums[domain] >= layout.Groups)
            {
                (candidates ??= []).Add(domain);
            }
        }

        if (candidates is null)
        {
            return null;
        }

        // Indexes of domains are in the order of their names.
        candidates.Sort((a, b) => sums[a] != sums[b] ? sums[a].CompareTo(sums[b]) : a.CompareTo(b));
        foreach (int domain in candidates)
        {
            if (Fill(domains, domain) is { } found)
            {
                return found;
            }
        }

        return null;
    }

    /// <summary>Within one domain, or anywhere when there is none; null when units find no room.</summary>
    private List<(int Node, int Groups)>? Fill(TopologyDomains? domains, int domain)
    {
        var within = domains?.Members[domain];
        if (!layout.HasUnits || layout.UnitLevel is not { } unitLevel)
        {
            var chosen = new List<(int Node, int Groups)>();
            return Choose(within, layout.Groups, chosen) ? chosen : null;
        }

        int left = layout.Groups / layout.GroupsPerUnit;
        var units = UnitDomain.Of(unitLevel, layout.GroupsPerUnit, left, domains, domain, fit, ledger.Map, ledger.Nodes);
        if (units is null)
        {
            return null;
        }

        // As few domains as hold all units, the last as tight as can be.
        var taken = new List<(UnitDomain Domain, int Units)>();
        while (left > 0)
        {
            int at = units.FindLastIndex(each => each.Units >= left);
            at = Math.Max(at, 0);
            int own = Math.Min(left, units[at].Units);
            taken.Add((units[at], own));
            units.RemoveAt(at);
            left -= own;
        }

        var all = new List<(int Node, int Groups)>();
        foreach (var (each, own) in taken.OrderBy(entry => entry.Domain.FirstPlace))
        {
            if (!Choose(each.Members, own * layout.GroupsPerUnit, all))
            {
                throw new InvalidOperationException($"{each.Key} does not hold what its nodes hold.");
            }
        }

        return all;
    }

    /// <summary>Adds the fewest nodes that hold so many groups, the last one as tight as can be, in the order of nodes.</summary>
    private bool Choose(NodeSet? within, int wanted, List<(int Node, int Groups)> chosen)
    {
        int begin = chosen.Count, size = fit.Sizes.Count - 1, from = 0;
        while (wanted > 0)
        {
            // Nodes that hold the rest: the tightest kind of them, and of these the cheapest.
            for (int tight = fit.FirstOf(wanted); tight <= size; tight++)
            {
                int start = tight == size ? from : 0;
                if (fit.Of(tight).TryNext(within, start, out _))
                {
                    chosen.Add((Cheapest(tight, tight + 1, within, start, wanted), wanted));
                    wanted = 0;
                    break;
                }
            }

            if (wanted == 0)
            {
                break;
            }

            int place;
            while (size >= 0 && !fit.Of(size).TryNext(within, from, out place))
            {
                (size, from) = (size - 1, 0);
            }

            if (size < 0)
            {
                return false;
            }

            fit.Of(size).TryNext(within, from, out place);
            chosen.Add((nodeAt[place], fit.Sizes[size]));
            wanted -= fit.Sizes[size];
            from = place + 1;
        }

        chosen.Sort(begin, chosen.Count - begin, Comparer<(int Node, int Groups)>.Create((a, b) => placeOf[a.Node].CompareTo(placeOf[b.Node])));
        return true;
    }

    /// <summary>Of the nodes of some sizes, from a place on in the first of them, the one where so many groups cost least.</summary>
    private int Cheapest(int size, int endSize, NodeSet? within, int start, int wanted)
    {
        int best = 0, bestPlace = int.MaxValue, ranks = wanted * layout.Tensor;
        double lowest = double.PositiveInfinity;
        for (; size < endSize; size++, start = 0)
        {
            var nodes = fit.Of(size);
            for (; nodes.TryNext(within, start, out int place); start = place + 1)
            {
                double cost = fit.Cost(nodeAt[place], ranks, ledger.Policy);
                if (bestPlace == int.MaxValue || cost < lowest || (cost == lowest && place < bestPlace))
                {
                    (best, bestPlace, lowest) = (nodeAt[place], place, cost);
                }
            }
        }

        return best;
    }

    private MemberPlacement[] Assign(List<(int Node, int Groups)> chosen)
    {
        int[] order = [.. layout.GroupsOf(0, layout.Groups / layout.GroupsPerUnit)];
        var members = new MemberPlacement[chosen.Count];
        int at = 0, tensor = layout.Tensor;
        for (int member = 0; member < members.Length; member++)
        {
            var (index, groups) = chosen[member];
            var node = ledger.Nodes[index];
            var slots = node.SlotsFor(layout.Rank, groups * tensor, ledger.Policy);
            if (slots.Count != groups * tensor)
            {
                throw new InvalidOperationException($"Expected {groups * tensor} ranks on {node.Node.Name}, found {slots.Count}.");
            }

            var ranks = new RankPlacement[slots.Count];
            for (int next = 0; next < ranks.Length; next++)
            {
                int[] devices = new int[slots[next].Length];
                for (int each = 0; each < devices.Length; each++)
                {
                    devices[each] = node.Node.Devices[slots[next][each]].Index;
                }

                ranks[next] = new RankPlacement((order[at + (next / tensor)] * tensor) + (next % tensor), devices, layout.Rank.DeviceMilli);
            }

            if (layout.HasUnits)
            {
                Array.Sort(ranks, (a, b) => a.Rank.CompareTo(b.Rank));
            }

            members[member] = new MemberPlacement(node.Node.Name, ranks);
            at += groups;
        }

        Array.Sort(members, (a, b) => a.Ranks[0].Rank.CompareTo(b.Ranks[0].Rank));
        return members;
    }
}
