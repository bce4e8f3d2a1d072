namespace Platform.Scheduling.Cycle;

/// <summary>Changes after which a waiting gang would start now, each tried on the snapshot.</summary>
public static class Counterfactuals
{
    private const int Most = 6;
    private const int JobsTried = 200;

    /// <summary>Sentences, the smallest change first.</summary>
    public static IReadOnlyList<string> Of(string gang, CycleInput input, DateTimeOffset now)
    {
        if (input.Waiting.FirstOrDefault(waiting => waiting.Gang == gang) is not { } own)
        {
            return [];
        }

        var found = new List<string>();
        found.AddRange(Quota(own, input));
        found.AddRange(Ends(own, input));
        found.AddRange(Shapes(own, input));
        found.AddRange(Nodes(own, input));
        if (input.Waiting.Any(other => other.Gang != gang && other.Queue == own.Queue && Goes(other, own)) && Fits(own, input.DeviceLedger()))
        {
            found.Add($"would start now with a priority above {input.Waiting.Where(other => other.Queue == own.Queue).Max(other => other.Priority)}");
        }

        return own.NotBefore > now ? [$"is tried again at {own.NotBefore:HH:mm:ss} UTC", .. found.Take(Most)] : [.. found.Take(Most)];
    }

    private static bool Goes(PendingGang other, PendingGang own) =>
        other.Priority > own.Priority || (other.Priority == own.Priority && other.SubmittedAt < own.SubmittedAt);

    private static IEnumerable<string> Quota(PendingGang own, CycleInput input)
    {
        var queues = input.QueueLedger();
        long needed = (long)own.Shape.Narrowest().DeviceSlots * own.Shape.DeviceMilli, available = queues.Available(own.Queue, own.Shape.DeviceKind);
        if (available < needed)
        {
            string more = PendingDiagnosis.Devices(needed - available);
            yield return Fits(own, input.DeviceLedger())
                ? $"would start now with {more} more {own.Shape.DeviceKind} devices of quota for queue {own.Queue}"
                : $"needs {more} more {own.Shape.DeviceKind} devices of quota for queue {own.Queue}, and devices";
        }
    }

    /// <summary>One job that would have to end, the one with the fewest devices.</summary>
    private static IEnumerable<string> Ends(PendingGang own, CycleInput input)
    {
        var ledger = input.DeviceLedger();
        if (Fits(own, ledger))
        {
            yield break;
        }

        foreach (var other in input.Running.Where(other => other.Rank.DeviceKind == own.Shape.DeviceKind).OrderBy(other => other.Milli).ThenBy(other => other.Gang, StringComparer.Ordinal).Take(JobsTried))
        {
            using var scope = new LedgerScope(ledger);
            scope.Free(other.Placement, other.Rank);
            if (Fits(own, ledger))
            {
                yield return $"would start now if {other.Gang} ended";
                yield break;
            }
        }
    }

    private static IEnumerable<string> Shapes(PendingGang own, CycleInput input)
    {
        var ledger = input.DeviceLedger();
        var (shape, mesh) = (own.Shape, own.Shape.Mesh);
        if (Fits(own, ledger))
        {
            yield break;
        }

        if (shape.TensorTopology != "zone" && Fits(own with { Shape = shape with { TensorTopology = "zone" } }, ledger))
        {
            yield return "would start now with resources.topology.tensor: zone";
        }

        if ((shape.PipelineTopology ?? shape.DataTopology) is not null && Fits(own with { Shape = shape with { PipelineTopology = null, DataTopology = null } }, ledger))
        {
            yield return "would start now without resources.topology.pipeline and .data";
        }

        for (int tensor = mesh.Tensor / 2; tensor >= 1; tensor /= 2)
        {
            if (Fits(own with { Shape = shape with { Mesh = mesh with { Tensor = tensor, Data = mesh.Data * mesh.Tensor / tensor } } }, ledger))
            {
                yield return $"would start now with tensor: {tensor} and data: {mesh.Data * mesh.Tensor / tensor}";
                break;
            }
        }

        for (int data = mesh.Data - 1; data >= 1; data--)
        {
            if (mesh.Data % data == 0 && Fits(own with { Shape = shape with { Mesh = mesh with { Data = data } } }, ledger))
            {
                yield return $"would start now with data: {data}";
                break;
            }
        }

        for (int tensor = mesh.Tensor / 2; mesh.Data == 1 && tensor >= 1; tensor /= 2)
        {
            if (Fits(own with { Shape = shape with { Mesh = mesh with { Tensor = tensor } } }, ledger))
            {
                yield return $"would start now with tensor: {tensor}";
                break;
            }
        }
    }

    /// <summary>More nodes like the largest of the right kind, in each block in turn.</summary>
    private static IEnumerable<string> Nodes(PendingGang own, CycleInput input)
    {
        var like = input.Cluster.Nodes.Where(node => node.Devices.Any(device => device.Kind == own.Shape.DeviceKind)).MaxBy(node => node.Devices.Count);
        if (like is null || Fits(own, input.DeviceLedger()))
        {
            yield break;
        }

        foreach (string? block in input.Cluster.Nodes.Select(node => node.Topology.GetValueOrDefault("block")).Distinct().Order(StringComparer.Ordinal).Take(8))
        {
            var inBlock = input.Cluster.Nodes.FirstOrDefault(node => node.Topology.GetValueOrDefault("block") == block) ?? like;
            for (int more = 1; more <= Math.Max(1, own.Shape.Mesh.WorldSize); more *= 2)
            {
                var added = Enumerable.Range(1, more).Select(n => new ClusterSnapshot([like with { Name = $"~new-{n}", Topology = inBlock.Topology, Schedulable = true, Condition = "" }]).Emptied().Nodes[0]);
                if (Fits(own, (input with { Cluster = new ClusterSnapshot([.. input.Cluster.Nodes, .. added]) }).DeviceLedger()))
                {
                    yield return $"would start now with {more} more node{(more == 1 ? "" : "s")} of {like.Devices.Count} {own.Shape.DeviceKind} devices{(block is null ? "" : $" in block {block}")}";
                    yield break;
                }
            }
        }
    }

    private static bool Fits(PendingGang gang, DeviceLedger ledger) => GangPlacer.TryPlace(gang, ledger) is not null;
}
