namespace Platform.Scheduling.Placement;

/// <summary>
/// Chooses among places that all fit. Topology and constraints come first and are no policy's business: a policy only
/// says what a place costs. Costs depend on the node's state and the request alone, so they can be kept until the node changes.
/// </summary>
public abstract class PlacementPolicy
{
    private const int LargestNode = 64;

    /// <summary>Name by which it is chosen.</summary>
    public abstract string Name { get; }

    /// <summary>Whether places of equal cost are drawn at random instead of by order.</summary>
    public virtual bool DrawsTies => false;

    /// <summary>Finds the cheapest devices for one rank on a node.</summary>
    /// <param name="node">The node.</param>
    /// <param name="request">The rank.</param>
    /// <param name="positions">Receives the devices' positions; as long as the request has devices.</param>
    /// <param name="cost">What the place costs; lower is better.</param>
    /// <returns>Whether the rank fits.</returns>
    public bool TryChoose(NodeLedger node, RankRequest request, Span<int> positions, out double cost)
    {
        cost = double.PositiveInfinity;
        if (node.HostLimit(request, 1) == 0)
        {
            return false;
        }

        return request.Devices switch
        {
            0 => Evaluate(node, request, [], out cost),
            1 => TryOne(node, request, positions, out cost),
            _ => TrySeveral(node, request, positions, out cost),
        };
    }

    /// <summary>What devices cost that are chosen already and fit.</summary>
    /// <param name="node">The node.</param>
    /// <param name="request">The rank.</param>
    /// <param name="positions">Its devices.</param>
    public double CostAt(NodeLedger node, RankRequest request, ReadOnlySpan<int> positions) => Cost(node, request, positions);

    /// <summary>What a place costs that fits; lower is better.</summary>
    /// <param name="node">The node, before.</param>
    /// <param name="request">The rank.</param>
    /// <param name="positions">Its devices.</param>
    protected abstract double Cost(NodeLedger node, RankRequest request, ReadOnlySpan<int> positions);

    private bool Evaluate(NodeLedger node, RankRequest request, ReadOnlySpan<int> positions, out double cost)
    {
        cost = Cost(node, request, positions);
        return true;
    }

    private bool TryOne(NodeLedger node, RankRequest request, Span<int> positions, out double cost)
    {
        cost = double.PositiveInfinity;
        var free = node.FreeMilli;
        if (free.Length == 0 || (node.IsUniform && !node.Suits(request, 0)))
        {
            return false;
        }

        bool found = false;
        Span<int> candidate = stackalloc int[1];
        for (int position = 0; position < free.Length; position++)
        {
            if (free[position] < request.DeviceMilli || (!node.IsUniform && !node.Suits(request, position))
                || (node.IsUniform && free[..position].Contains(free[position])))
            {
                continue;
            }

            candidate[0] = position;
            double price = Cost(node, request, candidate);
            if (!found || price < cost)
            {
                (found, cost, positions[0]) = (true, price, position);
            }
        }

        return found;
    }

    private bool TrySeveral(NodeLedger node, RankRequest request, Span<int> positions, out double cost)
    {
        cost = double.PositiveInfinity;
        var free = node.FreeMilli;
        Span<int> eligible = stackalloc int[Math.Min(free.Length, LargestNode)];
        int count = 0;
        for (int position = 0; position < eligible.Length; position++)
        {
            if (free[position] >= request.DeviceMilli && node.Suits(request, position))
            {
                // Tightest first, by insertion: a node has few devices.
                int at = count++;
                for (; at > 0 && free[eligible[at - 1]] > free[position]; at--)
                {
                    eligible[at] = eligible[at - 1];
                }

                eligible[at] = position;
            }
        }

        if (count < request.Devices)
        {
            return false;
        }

        eligible[..request.Devices].CopyTo(positions);
        return Evaluate(node, request, positions[..request.Devices], out cost);
    }
}
