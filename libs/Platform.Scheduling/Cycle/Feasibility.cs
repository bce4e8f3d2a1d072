namespace Platform.Scheduling.Cycle;

/// <summary>Whether a gang could ever run.</summary>
public static class Feasibility
{
    /// <summary>
    /// Null when the whole cluster, empty and with every known node in service, holds the gang, or when no node has
    /// ever registered, so that nothing is known; else the constraint that is violated and by how much.
    /// </summary>
    public static PendingReason? Check(ClusterSnapshot cluster, GangShape shape)
    {
        if (cluster.Nodes.Count == 0)
        {
            return null;
        }

        var (eligible, note) = Eligibility.Of(cluster, shape);
        var reason = CheckEligible(eligible, shape);
        return reason is null || note.Length == 0 ? reason : reason with { Message = reason.Message + note };
    }

    private static PendingReason? CheckEligible(ClusterSnapshot cluster, GangShape shape)
    {
        var empty = new DeviceLedger(cluster.Emptied());
        var gang = new PendingGang { Gang = "gang", Shape = shape, SubmittedAt = DateTimeOffset.UnixEpoch };
        if (GangPlacer.TryPlace(gang, empty) is not null)
        {
            return null;
        }

        shape = shape.Narrowest();
        string needs = PendingDiagnosis.Needs(shape);
        int devices = cluster.Nodes.Sum(node => node.Devices.Count(device => device.Kind == shape.DeviceKind));
        if (devices == 0)
        {
            return new PendingReason(PendingCode.Capacity, $"The job needs {needs}, and the cluster has no {shape.DeviceKind} device.");
        }

        int ranks = shape.Mesh.WorldSize, fit = GangPlacer.CountSlots(shape with { DeviceMemoryBytes = null, MemoryBytes = null }, empty.Nodes);
        if (fit < ranks)
        {
            return new PendingReason(
                PendingCode.Capacity,
                $"The job needs {needs}, and the whole cluster has {devices} on {cluster.Nodes.Count} nodes: {ranks - fit} of its {ranks} ranks find no place even when it is empty.");
        }

        int withMemory = GangPlacer.CountSlots(shape, empty.Nodes);
        if (withMemory < ranks)
        {
            return new PendingReason(
                PendingCode.Capacity,
                $"The job asks for {Memory(shape)}, and only {withMemory} of its {ranks} ranks find that much even on the empty cluster: {ranks - withMemory} too few.");
        }

        int largest = empty.Nodes.Max(node => node.CountFit(shape.Rank, ranks));
        return new PendingReason(
            PendingCode.Topology,
            $"The job needs {needs}, and the largest node has room for {largest} of its ranks: {Math.Max(1, shape.Mesh.Tensor - largest)} too few for a tensor group. Choose a smaller parallelism.tensor or a wider resources.topology.tensor.");
    }

    private static string Memory(GangShape shape) => (shape.DeviceMemoryBytes, shape.MemoryBytes) switch
    {
        ({ } device, null) => $"{Gibibytes(device)} of device memory per rank",
        (null, { } host) => $"{Gibibytes(host)} of host memory per rank",
        ({ } device, { } host) => $"{Gibibytes(device)} of device memory and {Gibibytes(host)} of host memory per rank",
        _ => "memory",
    };

    private static string Gibibytes(long bytes) => FormattableString.Invariant($"{bytes / (double)(1L << 30):0.##} GiB");
}
