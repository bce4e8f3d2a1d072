using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>A domain in which whole units of groups can stay together.</summary>
/// <param name="Key">Its level and name.</param>
/// <param name="Members">Its nodes, as far as they are within the bounds of the search.</param>
/// <param name="Units">Units that fit.</param>
/// <param name="FirstPlace">The first of its nodes on which anything fits.</param>
internal sealed record UnitDomain(string Key, NodeSet Members, int Units, int FirstPlace)
{
    /// <summary>
    /// The domains that have room for units, most first and by name among equals, within a domain of another level or
    /// anywhere; null when they have not room for all.
    /// </summary>
    public static List<UnitDomain>? Of(
        string unitLevel, int groupsPerUnit, int wanted, TopologyDomains? bounds, int bound, FitIndex fit, TopologyMap map, IReadOnlyList<NodeLedger> nodes)
    {
        var within = bounds?.Members[bound];
        var labelled = unitLevel == TopologyLevels.Node ? null : map.DomainsOf(unitLevel);
        var found = new List<UnitDomain>();
        long units = 0;
        if (bounds is not null && bounds == labelled)
        {
            units += Add(labelled.Keys[bound], labelled.Members[bound], fit.Level(unitLevel).Sums[bound]);
        }
        else if (labelled is not null && (bounds is null || map.IsNested(unitLevel, bounds.Level)))
        {
            // Sums of whole domains are known.
            long[] sums = fit.Level(unitLevel).Sums;
            for (int domain = 0; domain < labelled.Unlabelled; domain++)
            {
                if (sums[domain] >= groupsPerUnit && (bounds is null || map.ParentOf(unitLevel, bounds.Level)[domain] == bound))
                {
                    units += Add(labelled.Keys[domain], labelled.Members[domain], sums[domain]);
                }
            }

            units += AddNodes(labelled.Members[labelled.Unlabelled]);
        }
        else if (labelled is null)
        {
            units += AddNodes(null);
        }
        else
        {
            // Names that do not nest: the part of each that is within the bounds.
            foreach (var group in PlacesWithin().GroupBy(place => labelled.DomainOf[map.NodeAt[place]]))
            {
                if (group.Key == labelled.Unlabelled)
                {
                    continue;
                }

                var part = new NodeSet(nodes.Count);
                long sum = 0;
                foreach (int place in group)
                {
                    part.Add(place);
                    sum += fit.Groups[map.NodeAt[place]];
                }

                units += Add(labelled.Keys[group.Key], part, sum);
            }

            units += AddNodes(labelled.Members[labelled.Unlabelled]);
        }

        if (units < wanted)
        {
            return null;
        }

        found.Sort((a, b) => a.Units != b.Units ? b.Units.CompareTo(a.Units) : string.CompareOrdinal(a.Key, b.Key));
        return found;

        long Add(string key, NodeSet members, long groups)
        {
            int own = (int)(groups / groupsPerUnit);
            if (own > 0)
            {
                found.Add(new UnitDomain(key, members, own, FirstOf(members)));
            }

            return own;
        }

        // Each node by itself.
        long AddNodes(NodeSet? among)
        {
            long sum = 0;
            for (int size = fit.FirstOf(groupsPerUnit); size < fit.Sizes.Count; size++)
            {
                for (int start = 0; fit.Of(size).TryNext(among ?? within, start, out int place); start = place + 1)
                {
                    if (among is null || within is null || within.Contains(place))
                    {
                        var single = new NodeSet(nodes.Count);
                        single.Add(place);
                        sum += Add($"{TopologyLevels.Node}/{nodes[map.NodeAt[place]].Node.Name}", single, fit.Sizes[size]);
                    }
                }
            }

            return sum;
        }

        int FirstOf(NodeSet members)
        {
            int first = int.MaxValue;
            for (int size = 0; size < fit.Sizes.Count; size++)
            {
                if (fit.Of(size).TryNext(members, 0, out int place))
                {
                    first = Math.Min(first, place);
                }
            }

            return first;
        }

        IEnumerable<int> PlacesWithin()
        {
            for (int start = 0; within is not null && within.TryNext(null, start, out int place); start = place + 1)
            {
                yield return place;
            }
        }
    }
}
