namespace Platform.Scheduling.Placement;

/// <summary>
/// The nodes of a cluster with a policy's costs of placing a rank on each. A cost is computed once for each kind of rank
/// and state of a node, so that the work of a decision grows with the nodes that changed since the last one like it.
/// </summary>
/// <param name="nodes">The cluster, each at its <see cref="NodeLedger.Index"/>.</param>
/// <param name="policy">Chooses among places.</param>
/// <param name="draw">Draws among equals for policies that want it: an integer below its argument.</param>
public sealed class PlacementBoard(IReadOnlyList<NodeLedger> nodes, PlacementPolicy policy, Func<int, int> draw)
{
    private readonly Dictionary<RankRequest, Price[]> prices = [];

    /// <summary>Finds the cheapest place for one rank, and takes it.</summary>
    /// <param name="request">The rank.</param>
    /// <param name="positions">The devices' positions on the node.</param>
    /// <returns>The node, or null when it fits nowhere.</returns>
    public NodeLedger? TryTake(RankRequest request, out int[] positions)
    {
        positions = new int[request.Devices];
        var known = PricesOf(request);
        int best = -1, equals = 0;
        for (int index = 0; index < known.Length; index++)
        {
            ref var price = ref known[index];
            if (price.Version != nodes[index].Version)
            {
                bool fits = policy.TryChoose(nodes[index], request, positions, out double cost);
                price = new Price(nodes[index].Version, fits ? cost : double.PositiveInfinity);
            }

            if (double.IsPositiveInfinity(price.Cost))
            {
                continue;
            }

            if (best < 0 || price.Cost < known[best].Cost)
            {
                (best, equals) = (index, 1);
            }
            else if (policy.DrawsTies && price.Cost <= known[best].Cost && draw(++equals) == 0)
            {
                best = index;
            }
        }

        if (best < 0)
        {
            return null;
        }

        policy.TryChoose(nodes[best], request, positions, out _);
        nodes[best].Take(request, positions);
        return nodes[best];
    }

    private Price[] PricesOf(RankRequest request)
    {
        if (!prices.TryGetValue(request, out var known))
        {
            prices[request] = known = new Price[nodes.Count];
            Array.Fill(known, new Price(-1, 0));
        }

        return known;
    }

    private readonly record struct Price(int Version, double Cost);
}
