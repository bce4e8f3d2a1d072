namespace Platform.Scheduling.Placement;

/// <summary>
/// Fragmentation gradient descent (Weng et al., "Beware of Fragmentation", USENIX ATC 2023, section 4): a node's fragment
/// is what of its free devices a typical rank could not use, averaged over the mix; a rank goes where that grows least.
/// As published the change is seen through a scale of 0 to 100; of places that it cannot tell apart, the fullest is taken.
/// </summary>
/// <param name="mix">What is usually asked for.</param>
public sealed class FragmentationPolicy(WorkloadMix mix) : PlacementPolicy
{
    private const double Whole = 1000;
    private const double Scale = 100;
    private readonly Dictionary<(string Kind, string Model), Typical[]> typicalByType = [];

    /// <inheritdoc/>
    public override string Name => PlacementPolicies.Fgd;

    /// <summary>The node's fragment in thousandths of a device.</summary>
    public double Fragment(NodeLedger node) => Fragment(TypicalOf(node), node.FreeCpuMilli, node.FreeMilli, out _);

    /// <inheritdoc/>
    protected override double Cost(NodeLedger node, RankRequest request, ReadOnlySpan<int> positions)
    {
        var typical = TypicalOf(node);
        Span<int> after = stackalloc int[node.FreeMilli.Length];
        node.FreeMilli.CopyTo(after);
        foreach (int position in positions)
        {
            after[position] -= request.DeviceMilli;
        }

        double growth = Fragment(typical, node.FreeCpuMilli - request.CpuMilli, after, out int left) - Fragment(typical, node.FreeCpuMilli, node.FreeMilli, out _);
        double score = Math.Floor(Scale / (1 + Math.Exp(growth / Whole)));
        return (left / (Whole * (node.FreeMilli.Length + 1))) - score;
    }

    private static double Fragment(Typical[] typical, long cpuMilli, ReadOnlySpan<int> freeMilli, out int total)
    {
        total = 0;
        foreach (int milli in freeMilli)
        {
            total += milli;
        }

        double fragment = 0;
        foreach (var kind in typical)
        {
            int usable = 0, devices = 0;
            if (kind.Suits && kind.CpuMilli <= cpuMilli)
            {
                foreach (int milli in freeMilli)
                {
                    if (milli >= kind.DeviceMilli)
                    {
                        devices++;
                        usable += milli;
                    }
                }
            }

            fragment += kind.Weight * (devices >= kind.Devices ? total - usable : total);
        }

        return fragment;
    }

    private Typical[] TypicalOf(NodeLedger node)
    {
        // Devices of one node are alike in practice; the first stands for all.
        (string Kind, string Model) type = node.Node.Devices.Count > 0 ? (node.Node.Devices[0].Kind, node.Node.Devices[0].Model) : ("", "");
        if (!typicalByType.TryGetValue(type, out var typical))
        {
            // A rank without devices can use none: all that is free is a fragment to it, wherever it is.
            typicalByType[type] = typical = [.. mix.Typical.Select(kind => new Typical(
                kind.Weight, kind.Request.Devices > 0 && type.Kind == kind.Request.DeviceKind && kind.Request.Accepts(type.Model),
                kind.Request.CpuMilli, kind.Request.Devices, kind.Request.DeviceMilli))];
        }

        return typical;
    }

    private sealed record Typical(double Weight, bool Suits, long CpuMilli, int Devices, int DeviceMilli);
}
