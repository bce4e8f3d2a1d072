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
        if (journal.Length > Math.Max(LongestJournal, 4 * nodes.Length))
        {
            Shorten();
        }

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

    public void Take(GangPlacement placement, RankRequest rank)
    {
        foreach (var places in PlacesOf(placement))
        {
            nodes[places.Node].Take(rank, places.Positions, places.Ranks);
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
