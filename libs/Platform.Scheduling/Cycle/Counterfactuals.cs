using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Cycle;

/// <summary>Kinds of <see cref="Counterfactual"/>. In the API these are the names in upper snake case.</summary>
public enum CounterfactualKind
{
    /// <summary>More quota for its queue.</summary>
    Quota,

    /// <summary>A higher priority.</summary>
    Priority,

    /// <summary>A gang that runs ends.</summary>
    GangEnds,

    /// <summary>Another tensor-parallel width.</summary>
    Tensor,

    /// <summary>Another data-parallel width.</summary>
    Data,

    /// <summary>Groups may be further apart.</summary>
    Topology,

    /// <summary>More nodes.</summary>
    Nodes,

    /// <summary>Time passes.</summary>
    Time,
}

/// <summary>A change after which a waiting gang would start now.</summary>
/// <param name="Change">What changes.</param>
/// <param name="Message">The change as a sentence.</param>
/// <param name="Subject">The queue, gang, field or block that it is about; empty for none.</param>
/// <param name="Amount">Devices of quota, the priority, the width, the number of nodes, or seconds.</param>
public sealed record Counterfactual(CounterfactualKind Change, string Message, string Subject, double Amount);

/// <summary>
/// Changes after which a waiting gang would start now. Each is tried on the snapshot: on a cluster of ordinary size by a whole
/// cycle over the changed input, so that gangs that go first and devices kept for others count as they would; on a very large
/// one by whether the gang finds its places.
/// </summary>
public static class Counterfactuals
{
    private const int Most = 6;
    private const int GangsTried = 20;
    private const int BlocksTried = 8;
    private const long WholeCycle = 200_000;

    /// <summary>What would let the gang start now, the smallest change first.</summary>
    public static IReadOnlyList<Counterfactual> Of(string gang, CycleInput input, DateTimeOffset now) =>
        input.Waiting.FirstOrDefault(waiting => waiting.Gang == gang) is { } own ? new Trial(own, input, now).All() : [];

    private sealed class Trial(PendingGang own, CycleInput input, DateTimeOffset now)
    {
        private readonly bool byCycle = (long)input.Waiting.Count * Math.Max(1, input.Cluster.Nodes.Count) <= WholeCycle;
        private readonly DeviceLedger ledger = input.DeviceLedger();

        public IReadOnlyList<Counterfactual> All()
        {
            IEnumerable<Counterfactual> found = Quota().Concat(Ends()).Concat(Shapes()).Concat(Nodes()).Concat(Priority()).Take(Most);
            return own.NotBefore > now
                ? [new Counterfactual(CounterfactualKind.Time, $"is tried again at {own.NotBefore:HH:mm:ss} UTC", "", (own.NotBefore.Value - now).TotalSeconds), .. found]
                : [.. found];
        }

        private bool Fits(PendingGang gang) => GangPlacer.TryPlace(gang, ledger) is not null;

        private bool Starts(CycleInput changed, bool fits)
        {
            // What makes way for it while it is narrowed or asked to leave is not "now".
            var other = changed with { Options = changed.Options with { Preemption = false, Elastic = false } };
            return byCycle ? SchedulingCycle.Decide(other, now).Placed.Any(placed => placed.Gang == own.Gang) : fits;
        }

        private CycleInput With(PendingGang changed) => input with { Waiting = [.. input.Waiting.Select(gang => gang.Gang == own.Gang ? changed : gang)] };

        private IEnumerable<Counterfactual> Quota()
        {
            var queues = input.QueueLedger();
            string kind = own.Shape.DeviceKind;
            long needed = (long)own.Shape.Narrowest().DeviceSlots * own.Shape.DeviceMilli, available = queues.Available(own.Queue, kind);
            if (available >= needed)
            {
                yield break;
            }

            string more = PendingDiagnosis.Devices(needed - available);
            int whole = (int)((needed - available + 999) / 1000);
            bool starts = Starts(input with { Queues = [.. input.Queues.Select(queue => queue.Name == own.Queue ? Raised(queue, kind, whole) : queue)] }, Fits(own));
            yield return new Counterfactual(
                CounterfactualKind.Quota,
                starts ? $"would start now with {more} more {kind} devices of quota for queue {own.Queue}" : $"needs {more} more {kind} devices of quota for queue {own.Queue}, and devices",
                own.Queue, (needed - available) / 1000.0);
        }

        private static QueueSpec Raised(QueueSpec queue, string kind, int devices) => queue with
        {
            Nominal = new Dictionary<string, int>(queue.Nominal) { [kind] = queue.Nominal.GetValueOrDefault(kind) + devices },
        };

        /// <summary>One gang that would have to end, the one with the fewest devices.</summary>
        private IEnumerable<Counterfactual> Ends()
        {
            int tried = 0;
            if (Fits(own))
            {
                yield break;
            }

            foreach (var other in input.Running.Where(other => other.Rank.DeviceKind == own.Shape.DeviceKind).OrderBy(other => other.Milli).ThenBy(other => other.Gang, StringComparer.Ordinal).Take(10 * GangsTried))
            {
                bool fits;
                using (var scope = new LedgerScope(ledger))
                {
                    scope.Free(other.Placement, other.Rank);
                    fits = Fits(own);
                }

                if (fits && tried++ < GangsTried && Starts(Without(other), fits))
                {
                    yield return new Counterfactual(CounterfactualKind.GangEnds, $"would start now if {other.Gang} ended", other.Gang, 0);
                    yield break;
                }
            }
        }

        private CycleInput Without(RunningGang gone) => input with
        {
            Running = [.. input.Running.Where(gang => gang.Gang != gone.Gang)],
            Cluster = new ClusterSnapshot([.. input.Cluster.Nodes.Select(node => gone.Placement.Members.FirstOrDefault(member => member.Node == node.Name) is { } member
                ? node with
                {
                    FreeMemoryBytes = node.FreeMemoryBytes + (member.Ranks.Count * gone.Rank.MemoryBytes),
                    FreeCpuMilli = node.FreeCpuMilli + (member.Ranks.Count * gone.Rank.CpuMilli),
                    Devices = [.. node.Devices.Select(device => device with { FreeMilli = device.FreeMilli + member.Ranks.Where(rank => rank.Devices.Contains(device.Index)).Sum(rank => rank.DeviceMilli) })],
                }
                : node)]),
        };

        private IEnumerable<Counterfactual> Shapes()
        {
            if (Fits(own))
            {
                yield break;
            }

            var (shape, mesh) = (own.Shape, own.Shape.Mesh);
            if (shape.TensorTopology != "zone" && StartsAs(shape with { TensorTopology = "zone" }))
            {
                yield return new Counterfactual(CounterfactualKind.Topology, "would start now with resources.topology.tensor: zone", "resources.topology.tensor", 0);
            }

            if ((shape.PipelineTopology ?? shape.DataTopology) is not null && StartsAs(shape with { PipelineTopology = null, DataTopology = null }))
            {
                yield return new Counterfactual(CounterfactualKind.Topology, "would start now without resources.topology.pipeline and .data", "resources.topology", 0);
            }

            for (int tensor = mesh.Tensor / 2; tensor >= 1; tensor /= 2)
            {
                int data = mesh.Data * mesh.Tensor / tensor;
                if (StartsAs(shape with { NarrowerData = [], Mesh = mesh with { Tensor = tensor, Data = data } }))
                {
                    yield return new Counterfactual(CounterfactualKind.Tensor, $"would start now with tensor: {tensor} and data: {data}", "parallelism.tensor", tensor);
                    break;
                }
            }

            for (int data = mesh.Data - 1; data >= 1; data--)
            {
                if (mesh.Data % data == 0 && StartsAs(shape with { NarrowerData = [], Mesh = mesh with { Data = data } }))
                {
                    yield return new Counterfactual(CounterfactualKind.Data, $"would start now with data: {data}", "parallelism.data", data);
                    break;
                }
            }

            for (int tensor = mesh.Tensor / 2; mesh.Data == 1 && tensor >= 1; tensor /= 2)
            {
                if (StartsAs(shape with { NarrowerData = [], Mesh = mesh with { Tensor = tensor } }))
                {
                    yield return new Counterfactual(CounterfactualKind.Tensor, $"would start now with tensor: {tensor}", "parallelism.tensor", tensor);
                    break;
                }
            }
        }

        private bool StartsAs(GangShape shape)
        {
            var changed = own with { Shape = shape };
            return Fits(changed) && Starts(With(changed), fits: true);
        }

        /// <summary>The fewest more nodes like the largest of the right kind, in the block where fewest do.</summary>
        private IEnumerable<Counterfactual> Nodes()
        {
            var like = input.Cluster.Nodes.Where(node => node.Devices.Any(device => device.Kind == own.Shape.DeviceKind)).MaxBy(node => node.Devices.Count);
            if (like is null || Fits(own))
            {
                yield break;
            }

            (int More, string? Block)? best = null;
            foreach (string? block in input.Cluster.Nodes.Select(node => node.Topology.GetValueOrDefault("block")).Distinct().Order(StringComparer.Ordinal).Take(BlocksTried))
            {
                int limit = best is { } known ? known.More - 1 : Math.Max(1, own.Shape.Mesh.WorldSize);
                if (Fewest(block, like, limit) is { } more)
                {
                    best = (more, block);
                }
            }

            if (best is { } found)
            {
                yield return new Counterfactual(
                    CounterfactualKind.Nodes,
                    $"would start now with {found.More} more node{(found.More == 1 ? "" : "s")} of {like.Devices.Count} {own.Shape.DeviceKind} devices{(found.Block is null ? "" : $" in block {found.Block}")}",
                    found.Block ?? "", found.More);
            }
        }

        private int? Fewest(string? block, NodeSnapshot like, int limit)
        {
            if (limit < 1 || !StartsWithMore(limit))
            {
                return null;
            }

            int low = 1, high = limit;
            while (low < high)
            {
                int middle = (low + high) / 2;
                (low, high) = StartsWithMore(middle) ? (low, middle) : (middle + 1, high);
            }

            return low;

            bool StartsWithMore(int more)
            {
                var inBlock = input.Cluster.Nodes.FirstOrDefault(node => node.Topology.GetValueOrDefault("block") == block) ?? like;
                var added = new ClusterSnapshot([.. Enumerable.Range(1, more).Select(n => like with { Name = $"~new-{n}", Topology = inBlock.Topology })]).Emptied().Nodes;
                var larger = input with { Cluster = new ClusterSnapshot([.. input.Cluster.Nodes, .. added]) };
                return GangPlacer.TryPlace(own, larger.DeviceLedger()) is not null && Starts(larger, fits: true);
            }
        }

        private IEnumerable<Counterfactual> Priority()
        {
            if (!input.Waiting.Any(other => other.Gang != own.Gang) || !Fits(own))
            {
                yield break;
            }

            int highest = input.Waiting.Max(other => other.Priority);
            if (Starts(With(own with { Priority = highest + 1 }), input.Waiting.Any(other => other.Queue == own.Queue && Goes(other))))
            {
                yield return new Counterfactual(CounterfactualKind.Priority, $"would start now with a priority above {highest}", "priority", highest + 1);
            }
        }

        private bool Goes(PendingGang other) => other.Priority > own.Priority || (other.Priority == own.Priority && other.SubmittedAt < own.SubmittedAt);
    }
}
