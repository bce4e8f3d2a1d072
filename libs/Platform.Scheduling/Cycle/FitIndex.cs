using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// How many tensor groups of one kind of rank fit on each node, added up by domain, with the nodes sorted by that number:
/// whether and where a gang fits is answered without a look at each node.
/// </summary>
internal sealed class FitIndex : NodeIndex
{
    private const int Most = 1 << 20;
    private const int MostEvenPrices = 4096;
    private readonly RankRequest rank;
    private readonly int tensor;
    private readonly IReadOnlyList<NodeLedger> nodes;
    private readonly TopologyMap map;
    private readonly int[] groups;
    private readonly int[] changes;
    private readonly (int Usable, int FreeMilli)[]? figures;
    private readonly (TopologyDomains Domains, long[] Sums)[] levels;
    private readonly SortedList<int, NodeSet> byGroups = [];
    private readonly Dictionary<int, Price[]> prices = [];
    private readonly Dictionary<(EvenNode State, int Ranks), double> evenPrices = [];

    /// <summary>Counts everything once.</summary>
    public FitIndex(RankRequest rank, int tensor, IReadOnlyList<NodeLedger> nodes, TopologyMap map, NodeJournal journal)
        : base(journal)
    {
        (this.rank, this.tensor, this.nodes, this.map) = (rank, tensor, nodes, map);
        groups = new int[nodes.Count];
        changes = new int[nodes.Count];
        figures = tensor == 1 ? new (int Usable, int FreeMilli)[nodes.Count] : null;
        levels = [.. TopologyLevels.Wider.Select(map.DomainsOf).Select(domains => (domains, new long[domains.Keys.Length + 1]))];
        for (int node = 0; node < groups.Length; node++)
        {
            Update(node);
        }
    }

    /// <summary>Groups that fit on each node.</summary>
    public ReadOnlySpan<int> Groups => groups;

    /// <summary>Groups that fit in the cluster.</summary>
    public long Total { get; private set; }

    /// <summary>Healthy devices of the kind on nodes in service, whatever else the rank asks; counted for single ranks only.</summary>
    public int Usable { get; private set; }

    /// <summary>Thousandths of these that are free.</summary>
    public long FreeMilli { get; private set; }

    /// <summary>Numbers of groups that some node has room for, ascending.</summary>
    public IList<int> Sizes => byGroups.Keys;

    /// <summary>Places of the nodes with room for the number of groups at an index of <see cref="Sizes"/>.</summary>
    public NodeSet Of(int size) => byGroups.Values[size];

    /// <summary>Domains of a level above a node with the groups that fit in each, and last in nodes without a label.</summary>
    public (TopologyDomains Domains, long[] Sums) Level(string level) => levels[TopologyLevels.Width(level) - 1];

    /// <summary>The first index of <see cref="Sizes"/> with at least so many groups.</summary>
    public int FirstOf(int wanted)
    {
        int low = 0, high = byGroups.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = byGroups.Keys[middle] < wanted ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    /// <summary>What so many ranks cost on a node by a policy, kept until the node changes.</summary>
    public double Cost(int node, int ranks, PlacementPolicy policy)
    {
        if (!prices.TryGetValue(ranks, out var known))
        {
            prices[ranks] = known = new Price[groups.Length];
        }

        ref var price = ref known[node];
        if (price.Change != changes[node])
        {
            price = new Price(changes[node], Cost(nodes[node], ranks, policy));
        }

        return price.Cost;
    }

    /// <summary>Another policy judges from now on.</summary>
    public void ForgetCosts()
    {
        prices.Clear();
        evenPrices.Clear();
    }

    /// <summary>Nodes of one type that are equally free throughout, most often wholly, cost the same.</summary>
    private double Cost(NodeLedger node, int ranks, PlacementPolicy policy)
    {
        if (node.EvenState is not { } state)
        {
            return node.CostOf(rank, ranks, policy);
        }

        if (!evenPrices.TryGetValue((state, ranks), out double known))
        {
            if (evenPrices.Count >= MostEvenPrices)
            {
                evenPrices.Clear();
            }

            evenPrices[(state, ranks)] = known = node.CostOf(rank, ranks, policy);
        }

        return known;
    }

    /// <inheritdoc/>
    protected override void Update(int node)
    {
        changes[node]++;
        if (figures is not null)
        {
            var own = nodes[node].FiguresOf(rank);
            Usable += own.Usable - figures[node].Usable;
            FreeMilli += own.FreeMilli - figures[node].FreeMilli;
            figures[node] = own;
        }

        int before = groups[node], now = nodes[node].CountFit(rank, Most) / tensor;
        if (now == before)
        {
            return;
        }

        int place = map.PlaceOf[node];
        if (before > 0)
        {
            var left = byGroups[before];
            left.Remove(place);
            if (left.Count == 0)
            {
                byGroups.Remove(before);
            }
        }

        if (now > 0)
        {
            if (!byGroups.TryGetValue(now, out var joined))
            {
                byGroups[now] = joined = new NodeSet(groups.Length);
            }

            joined.Add(place);
        }

        groups[node] = now;
        Total += now - before;
        foreach (var (domains, sums) in levels)
        {
            sums[domains.DomainOf[node]] += now - before;
        }
    }

    private readonly record struct Price(int Change, double Cost);
}
