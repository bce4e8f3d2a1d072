using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Where a cluster's nodes are: an order in which near nodes stand beside each other, and the domains of each level. It
/// changes only when nodes come, go or are labelled anew.
/// </summary>
internal sealed class TopologyMap
{
    private readonly Dictionary<string, TopologyDomains> levels = [];
    private readonly Dictionary<(string Inner, string Outer), (bool Nested, int[] Parent)> nesting = [];
    private readonly IReadOnlyList<NodeLedger> nodes;

    public TopologyMap(IReadOnlyList<NodeLedger> nodes)
    {
        this.nodes = nodes;
        string[] keys = new string[nodes.Count];
        NodeAt = new int[nodes.Count];
        for (int node = 0; node < nodes.Count; node++)
        {
            keys[node] = TopologyLevels.OrderKey(nodes[node].Node);
            NodeAt[node] = node;
        }

        Array.Sort(keys, NodeAt, StringComparer.Ordinal);
        PlaceOf = new int[nodes.Count];
        for (int place = 0; place < NodeAt.Length; place++)
        {
            PlaceOf[NodeAt[place]] = place;
        }
    }

    /// <summary>Place of each node in the order.</summary>
    public int[] PlaceOf { get; }

    /// <summary>Node at each place of the order.</summary>
    public int[] NodeAt { get; }

    /// <summary>Domains of a level above a node.</summary>
    public TopologyDomains DomainsOf(string level)
    {
        if (!levels.TryGetValue(level, out var domains))
        {
            levels[level] = domains = new TopologyDomains(level, nodes, PlaceOf);
        }

        return domains;
    }

    /// <summary>Whether every domain of one level lies within one domain of another.</summary>
    public bool IsNested(string inner, string outer) => Nesting(inner, outer).Nested;

    /// <summary>The domain of the outer level that holds each domain of the inner one, when they are nested.</summary>
    public int[] ParentOf(string inner, string outer) => Nesting(inner, outer).Parent;

    private (bool Nested, int[] Parent) Nesting(string inner, string outer)
    {
        if (!nesting.TryGetValue((inner, outer), out var known))
        {
            var (within, around) = (DomainsOf(inner), DomainsOf(outer));
            int[] parent = new int[within.Keys.Length];
            for (int domain = 0; domain < parent.Length; domain++)
            {
                parent[domain] = around.DomainOf[NodeAt[within.FirstPlace[domain]]];
            }

            bool nested = true;
            for (int node = 0; node < NodeAt.Length; node++)
            {
                nested &= within.DomainOf[node] == within.Unlabelled || parent[within.DomainOf[node]] == around.DomainOf[node];
            }

            nesting[(inner, outer)] = known = (nested, parent);
        }

        return known;
    }
}

/// <summary>The domains of one level. Nodes without the label are in none; they count under <see cref="Unlabelled"/>.</summary>
internal sealed class TopologyDomains
{
    public TopologyDomains(string level, IReadOnlyList<NodeLedger> nodes, int[] placeOf)
    {
        Level = level;
        string?[] labels = new string?[nodes.Count];
        for (int node = 0; node < labels.Length; node++)
        {
            labels[node] = nodes[node].Node.Topology.GetValueOrDefault(level);
        }

        string[] names = [.. labels.OfType<string>().Distinct().Order(StringComparer.Ordinal)];
        var byName = names.Select((name, index) => (name, index)).ToDictionary(entry => entry.name, entry => entry.index, StringComparer.Ordinal);
        Keys = [.. names.Select(name => $"{level}/{name}")];
        DomainOf = [.. labels.Select(label => label is null ? names.Length : byName[label])];
        Members = [.. Enumerable.Range(0, names.Length + 1).Select(_ => new NodeSet(nodes.Count))];
        FirstPlace = new int[names.Length + 1];
        Array.Fill(FirstPlace, int.MaxValue);
        for (int node = 0; node < DomainOf.Length; node++)
        {
            Members[DomainOf[node]].Add(placeOf[node]);
            FirstPlace[DomainOf[node]] = Math.Min(FirstPlace[DomainOf[node]], placeOf[node]);
        }
    }

    public string Level { get; }

    /// <summary>Number of domains; as an index, the nodes without a label.</summary>
    public int Unlabelled => Keys.Length;

    /// <summary>Names of the domains with their level, in ordinal order.</summary>
    public string[] Keys { get; }

    /// <summary>Domain of each node.</summary>
    public int[] DomainOf { get; }

    /// <summary>Places of each domain's nodes, and last those without a label.</summary>
    public NodeSet[] Members { get; }

    /// <summary>The first of these places.</summary>
    public int[] FirstPlace { get; }
}
