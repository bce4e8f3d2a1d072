using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>Devices that a gang holds or would hold on one node.</summary>
/// <param name="Node">The node's index.</param>
/// <param name="Ranks">Ranks there.</param>
/// <param name="Positions">Their devices, rank by rank.</param>
internal sealed record HeldPlaces(int Node, int Ranks, int[] Positions);

/// <summary>
/// What is free during a cycle: the snapshot's figures less what the cycle has given away, with indexes by kind of rank.
/// One owner, no sharing.
/// </summary>
internal sealed class DeviceLedger
{
    /// <summary>So few nodes are looked at one by one sooner than an index of them is made.</summary>
    public const int FewNodes = 48;

    private const int LongestJournal = 1 << 16;
    private readonly NodeLedger[] nodes;
    private readonly NodeJournal journal = new();
    private readonly Dictionary<(RankRequest Rank, int Tensor), FitIndex> fits = [];
    private Dictionary<string, int>? indexes;
    private TopologyMap? map;

    /// <summary>A ledger whose places are chosen by how full they make nodes, where no policy matters.</summary>
    public DeviceLedger(ClusterSnapshot cluster)
        : this(cluster, _ => new ForesightPolicy(WorkloadMix.Unknown))
    {
    }

    public DeviceLedger(ClusterSnapshot cluster, Func<IReadOnlyList<NodeLedger>, PlacementPolicy> policy, TopologyMap? map = null)
    {
        nodes = [.. cluster.Nodes.Select((node, index) => new NodeLedger(node, index, journal))];
        this.map = map;
        Policy = policy(nodes);
    }

    public IReadOnlyList<NodeLedger> Nodes => nodes;

    /// <summary>Another ledger of the same nodes, as they were.</summary>
    public DeviceLedger Anew() => new(new ClusterSnapshot([.. nodes.Select(node => node.Node)]), _ => Policy, map);

    /// <summary>Where the nodes are.</summary>
    public TopologyMap Map => map ??= new TopologyMap(nodes);

    /// <summary>Chooses among places that are equally near.</summary>
    public PlacementPolicy Policy { get; private set; }

    /// <summary>Lets another policy choose from now on.</summary>
    public void Judge(PlacementPolicy policy)
    {
        Policy = policy;
        foreach (var index in fits.Values)
        {
            index.ForgetCosts();
        }
    }

    /// <summary>Where groups of so many ranks fit now.</summary>
    public FitIndex Fit(RankRequest rank, int tensor)
    {
        Tidy();
        if (!fits.TryGetValue((rank, tensor), out var index))
        {
            fits[(rank, tensor)] = index = new FitIndex(rank, tensor, nodes, Map, journal);
        }

        index.CatchUp();
        return index;
    }

    /// <summary>Ranks that fit now when their distance does not matter, counted up to a limit.</summary>
    public int CountFit(RankRequest rank, int limit) => nodes.Length <= FewNodes
        ? (int)Math.Min(limit, nodes.Sum(node => (long)node.CountFit(rank, limit)))
        : (int)Math.Min(limit, Fit(rank, 1).Total);

    /// <summary>Healthy devices of a rank's kind on nodes in service, and what is free of them.</summary>
    public (int Usable, long FreeMilli) FiguresOf(RankRequest rank)
    {
        if (nodes.Length <= FewNodes)
        {
            return nodes.Select(node => node.FiguresOf(rank)).Aggregate((Usable: 0, FreeMilli: 0L), (sum, own) => (sum.Usable + own.Usable, sum.FreeMilli + own.FreeMilli));
        }

        var fit = Fit(rank, 1);
        return (fit.Usable, fit.FreeMilli);
    }

    /// <summary>The nodes with room for most ranks, counted up to a limit, and how many nodes have room for any.</summary>
    public (IReadOnlyList<(string Node, int Ranks)> Roomiest, int Nodes) Roomiest(RankRequest rank, int limit, int most)
    {
        if (nodes.Length <= FewNodes)
        {
            var all = nodes.Select(node => (node.Node.Name, Ranks: node.CountFit(rank, limit))).Where(entry => entry.Ranks > 0).ToList();
            return ([.. all.OrderByDescending(entry => entry.Ranks).Take(most)], all.Count);
        }

        var fit = Fit(rank, 1);
        var roomiest = new List<(string Node, int Ranks)>(most);
        int with = 0;
        for (int size = fit.Sizes.Count - 1; size >= 0; size--)
        {
            with += fit.Of(size).Count;
            for (int start = 0; roomiest.Count < most && fit.Of(size).TryNext(null, start, out int place); start = place + 1)
            {
                roomiest.Add((nodes[Map.NodeAt[place]].Node.Name, Math.Min(limit, fit.Sizes[size])));
            }
        }

        return (roomiest, with);
    }

    /// <summary>Index of a node by name.</summary>
    public bool TryFind(string name, out int node)
    {
        if (indexes is null)
        {
            indexes = new Dictionary<string, int>(nodes.Length, StringComparer.Ordinal);
            foreach (var each in nodes)
            {
                indexes.Add(each.Node.Name, each.Index);
            }
        }

        return indexes.TryGetValue(name, out node);
    }

    public void Take(GangPlacement placement, RankRequest rank) => Take(PlacesOf(placement), rank);

    public void Take(IReadOnlyList<HeldPlaces> held, RankRequest rank)
    {
        foreach (var places in held)
        {
            nodes[places.Node].Take(rank, places.Positions, places.Ranks);
        }
    }

    /// <summary>Takes back what was given.</summary>
    public void Release(IReadOnlyList<HeldPlaces> held, RankRequest rank)
    {
        foreach (var places in held)
        {
            nodes[places.Node].Release(rank, places.Positions, places.Ranks);
        }
    }

    /// <summary>Takes again what was released, whatever is kept for others by now.</summary>
    public void Retake(IReadOnlyList<HeldPlaces> held, RankRequest rank)
    {
        foreach (var places in held)
        {
            nodes[places.Node].Retake(rank, places.Positions, places.Ranks);
        }
    }

    /// <summary>Keeps places from being given away, or does so no longer.</summary>
    public void Withhold(IReadOnlyList<HeldPlaces> held, RankRequest rank, bool withheld)
    {
        foreach (var places in held)
        {
            nodes[places.Node].Withhold(rank, places.Positions, withheld ? places.Ranks : -places.Ranks);
        }
    }

    /// <summary>Forgets changes that every index has seen, when there are many.</summary>
    public void Tidy()
    {
        if (journal.Length > Math.Max(LongestJournal, 4 * nodes.Length))
        {
            Shorten();
        }
    }

    /// <summary>The places by node; ranks on nodes that are not known any more are left out.</summary>
    public List<HeldPlaces> PlacesOf(GangPlacement placement)
    {
        var all = new List<HeldPlaces>(placement.Members.Count);
        foreach (var member in placement.Members)
        {
            if (!TryFind(member.Node, out int index))
            {
                continue;
            }

            var node = nodes[index];
            var positions = new List<int>(member.Ranks.Count);
            int ranks = 0;
            foreach (var rank in member.Ranks)
            {
                bool known = true;
                foreach (int device in rank.Devices)
                {
                    known &= device < node.Node.Devices.Count;
                }

                if (known)
                {
                    ranks++;
                    foreach (int device in rank.Devices)
                    {
                        positions.Add(node.PositionOf(device));
                    }
                }
            }

            if (ranks > 0)
            {
                all.Add(new HeldPlaces(index, ranks, [.. positions]));
            }
        }

        return all;
    }

    /// <summary>Indexes that nobody asked of late go; the others have seen every change before those are forgotten.</summary>
    private void Shorten()
    {
        foreach (var (key, index) in fits.ToList())
        {
            if (!index.Asked)
            {
                fits.Remove(key);
                continue;
            }

            index.CatchUp();
            index.Asked = false;
        }

        journal.Clear();
    }
}
