using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>
/// Finds devices for one whole gang. Tensor groups go into as few and as near nodes as can hold them, in rank order, so that
/// ranks that talk most (tensor, then data, then pipeline neighbours) are nearest; levels required of data and pipeline groups
/// bound the search. Of nodes that are equally good by that, the policy chooses.
/// </summary>
internal static class GangPlacer
{
    /// <summary>
    /// Devices for every rank, or null when the gang does not fit as a whole. An elastic gang gets the widest of its widths
    /// that fits.
    /// </summary>
    public static GangPlacement? TryPlace(PendingGang gang, DeviceLedger ledger)
    {
        if (gang.Shape.NarrowerData.Count == 0)
        {
            return TryPlaceAtWidth(gang, gang.Shape, ledger);
        }

        foreach (var shape in gang.Shape.AtEachWidth())
        {
            if (TryPlaceAtWidth(gang, shape, ledger) is { } placement)
            {
                return placement;
            }
        }

        return null;
    }

    /// <summary>Whether the gang fits as a whole, at any of its widths: what <see cref="TryPlace(PendingGang, DeviceLedger)"/> answers, without the places.</summary>
    public static bool Fits(PendingGang gang, DeviceLedger ledger)
    {
        if (gang.Shape.NarrowerData.Count > 0 || gang.Shape.TensorTopology != TopologyLevels.Node || ledger.Nodes.Count <= DeviceLedger.FewNodes)
        {
            return TryPlace(gang, ledger) is not null;
        }

        // Nodes that are to be avoided are used when nothing else will do.
        return new NodeSearch(new GroupLayout(gang.Shape), ledger).Fits();
    }

    /// <summary>Ranks of the shape that fit on these nodes when their distance does not matter.</summary>
    public static int CountSlots(GangShape shape, IEnumerable<NodeLedger> nodes)
    {
        var rank = shape.Rank;
        return nodes.Sum(node => node.CountFit(rank, shape.Mesh.WorldSize));
    }

    private static GangPlacement? TryPlaceAtWidth(PendingGang gang, GangShape shape, DeviceLedger ledger)
    {
        var layout = new GroupLayout(shape);
        if (gang.AvoidNodes.Count > 0 && TryPlaceElsewhere(gang, layout, ledger) is { } elsewhere)
        {
            return elsewhere;
        }

        return TryPlace(gang, layout, ledger);
    }

    private static GangPlacement? TryPlaceElsewhere(PendingGang gang, GroupLayout layout, DeviceLedger ledger)
    {
        var avoided = new List<NodeLedger>(gang.AvoidNodes.Count);
        foreach (string name in gang.AvoidNodes)
        {
            if (ledger.TryFind(name, out int node))
            {
                ledger.Nodes[node].Excluded = true;
                avoided.Add(ledger.Nodes[node]);
            }
        }

        var found = TryPlace(gang, layout, ledger);
        foreach (var node in avoided)
        {
            node.Excluded = false;
        }

        return found;
    }

    private static GangPlacement? TryPlace(PendingGang gang, GroupLayout layout, DeviceLedger ledger)
    {
        IReadOnlyList<MemberPlacement>? members = layout.TensorLevel == TopologyLevels.Node && ledger.Nodes.Count > DeviceLedger.FewNodes
            ? new NodeSearch(layout, ledger).Place()
            : ledger.CountFit(layout.Rank, layout.Groups * layout.Tensor) < layout.Groups * layout.Tensor ? null : new BinSearch(layout, ledger.Policy).Place(ledger.Nodes);
        return members is null ? null : new GangPlacement(gang.Gang, members);
    }
}
