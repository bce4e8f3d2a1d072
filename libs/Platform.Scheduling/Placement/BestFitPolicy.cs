namespace Platform.Scheduling.Placement;

/// <summary>
/// Best fit over processors and devices: the place where least is left over, each resource measured by the largest node's,
/// both weighted alike (Weng et al., "Beware of Fragmentation", USENIX ATC 2023, section 6.1).
/// </summary>
public sealed class BestFitPolicy : PlacementPolicy
{
    private readonly double cpuScale;
    private readonly double deviceScale;

    /// <summary>Learns the largest node's measures.</summary>
    public BestFitPolicy(IReadOnlyList<NodeLedger> nodes)
    {
        cpuScale = 0.5 / Math.Max(1, nodes.Select(node => node.Node.CpuMilli).DefaultIfEmpty().Max());
        deviceScale = 0.5 / (1000.0 * Math.Max(1, nodes.Select(node => node.Node.Devices.Count).DefaultIfEmpty().Max()));
    }

    /// <inheritdoc/>
    public override string Name => PlacementPolicies.BestFit;

    /// <inheritdoc/>
    protected override double Cost(NodeLedger node, RankRequest request, ReadOnlySpan<int> positions)
    {
        int free = 0;
        foreach (int milli in node.FreeMilli)
        {
            free += milli;
        }

        // Among devices of one node the tightest: a term too small to change the order of nodes.
        double tightness = positions.Length > 0 ? 1e-9 * node.FreeMilli[positions[0]] : 0;
        return ((node.FreeCpuMilli - request.CpuMilli) * cpuScale) + ((free - request.TotalMilli) * deviceScale) + tightness;
    }
}
