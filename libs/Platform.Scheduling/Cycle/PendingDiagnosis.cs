using System.Globalization;

namespace Platform.Scheduling.Cycle;

/// <summary>Finds out why a gang does not fit.</summary>
internal static class PendingDiagnosis
{
    /// <summary>Nodes that a reason names at most.</summary>
    private const int Named = 8;

    /// <summary>The reason why the gang cannot be placed with what the ledger has free.</summary>
    public static PendingReason Explain(PendingGang gang, ClusterSnapshot cluster, DeviceLedger ledger) =>
        Explain(gang, ledger, new ClusterCapacity(cluster));

    /// <summary>The same, with what is known of the empty cluster.</summary>
    public static PendingReason Explain(PendingGang gang, DeviceLedger ledger, ClusterCapacity capacity)
    {
        var (eligible, note) = capacity.EligibleFor(gang.Shape);
        var reason = ExplainOnEligible(gang, eligible, ledger, capacity);
        return note.Length == 0 ? reason : reason with { Message = reason.Message + note };
    }

    private static PendingReason ExplainOnEligible(PendingGang gang, ClusterSnapshot cluster, DeviceLedger ledger, ClusterCapacity capacity)
    {
        // An elastic gang waits for what it needs at least.
        var shape = gang.Shape.Narrowest();
        gang = gang with { Shape = shape };
        if (!capacity.InAll(shape) && !cluster.Nodes.Any(node => node.Devices.Any(device => device.Kind == shape.DeviceKind)))
        {
            return new PendingReason(PendingCode.Capacity, $"It needs {Needs(shape)}, and no node has a {shape.DeviceKind} device.")
            {
                Unblocks = [$"a node with {shape.DeviceKind} devices"],
            };
        }

        if (!capacity.InService(shape))
        {
            return OutOfService(gang, cluster, capacity);
        }

        int ranks = shape.Mesh.WorldSize, fit = ledger.CountFit(shape.Rank, ranks);
        if (fit >= ranks)
        {
            return Scattered(shape, ledger);
        }

        var (usable, free) = ledger.FiguresOf(shape.Rank);
        long need = (long)shape.DeviceSlots * shape.DeviceMilli;
        return free >= need
            ? new PendingReason(
                PendingCode.Fragmentation,
                $"It needs {Needs(shape)}; {Devices(free)} are free in sum, but only {fit} of its {ranks} ranks find pieces that are large enough.")
            {
                Unblocks = ["a job on a shared device ends"],
            }
            : new PendingReason(
                PendingCode.Capacity,
                $"It needs {Needs(shape)}; {Devices(free)} of {usable} are free, {Devices(need - free)} too few.")
            {
                Unblocks = [$"{Devices(need - free)} more {shape.DeviceKind} devices become free"],
            };
    }

    /// <summary>What the gang occupies, as words.</summary>
    public static string Needs(GangShape shape)
    {
        string devices = shape.DeviceMilli == 1000
            ? $"{shape.DeviceSlots} {shape.DeviceKind} devices"
            : $"{shape.DeviceSlots} shares of {shape.DeviceMilli / 1000.0:0.###} {shape.DeviceKind} device";
        string grouped = shape.Mesh.Tensor > 1
            ? $"{devices} (tensor groups of {shape.Mesh.Tensor * shape.DevicesPerRank} within one {shape.TensorTopology})"
            : devices;
        return shape.NarrowerData.Count > 0 ? $"{grouped}, or at least {shape.Narrowest().DeviceSlots}" : grouped;
    }

    private static PendingReason OutOfService(PendingGang gang, ClusterSnapshot cluster, ClusterCapacity capacity)
    {
        var outside = cluster.Nodes.Where(node => !node.Schedulable).ToList();
        string[] absent = [.. outside.Take(Named).Select(node => $"{node.Name} ({node.Condition})")];
        string more = outside.Count > Named ? $" and {outside.Count - Named} more" : "";
        bool nodesWouldHelp = capacity.InAll(gang.Shape);
        string unhealthy = cluster.Nodes.Sum(node => node.Devices.Count(device => !device.Healthy)) is int count and > 0 ? $" {count} devices are unhealthy." : "";
        return nodesWouldHelp
            ? new PendingReason(
                PendingCode.NodeHealth,
                $"It needs {Needs(gang.Shape)}, which the nodes in service cannot hold even when empty; out of service: {string.Join(", ", absent)}{more}.{unhealthy}")
            {
                Unblocks = [.. absent.Select(node => $"node {node} returns")],
            }
            : new PendingReason(
                PendingCode.Capacity,
                $"It needs {Needs(gang.Shape)}, which the whole cluster cannot hold even when empty.{unhealthy}")
            {
                Unblocks = ["more nodes"],
            };
    }

    private static PendingReason Scattered(GangShape shape, DeviceLedger ledger)
    {
        var (roomiest, nodes) = ledger.Roomiest(shape.Rank, shape.Mesh.WorldSize, Named);
        string places = string.Join(", ", roomiest.Select(entry => $"{entry.Node}: {entry.Ranks}")) + (nodes > Named ? $" and on {nodes - Named} more nodes" : "");
        return new PendingReason(
            PendingCode.Topology,
            $"It needs {Needs(shape)}; places for ranks are free ({places}), but not enough of them within one {shape.TensorTopology}.")
        {
            Unblocks = [$"devices of one {shape.TensorTopology} become free together", "a smaller parallelism.tensor"],
        };
    }

    public static string Devices(long milli) => (milli / 1000.0).ToString("0.###", CultureInfo.InvariantCulture);
}
