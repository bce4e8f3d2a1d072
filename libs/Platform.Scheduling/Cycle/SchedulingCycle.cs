namespace Platform.Scheduling.Cycle;

/// <summary>
/// One scheduling cycle: a function of a snapshot. Gangs are taken by priority, then in order of submission, and each is
/// placed whole or not at all. A gang that waits for devices the cluster has keeps later ones of its device kind from
/// taking them, so that a stream of small gangs cannot starve a large one; a gang that could not run even on the empty
/// nodes in service holds nobody up.
/// </summary>
public static class SchedulingCycle
{
    /// <summary>Decides which of the waiting gangs start now and says of each other one why it waits.</summary>
    public static CyclePlan Decide(ClusterSnapshot cluster, IReadOnlyList<PendingGang> waiting, DateTimeOffset now)
    {
        // 1. Order.
        var order = waiting.OrderByDescending(gang => gang.Priority).ThenBy(gang => gang.SubmittedAt).ThenBy(gang => gang.Gang, StringComparer.Ordinal);

        // 2. What is free.
        var ledger = new DeviceLedger(cluster);
        var placed = new List<GangPlacement>();
        var deferred = new List<GangDeferral>();
        var firstInLine = new Dictionary<string, string>();
        int position = 0;
        foreach (var gang in order)
        {
            position++;

            // 3. Not yet.
            if (gang.NotBefore > now)
            {
                deferred.Add(new GangDeferral(gang.Gang, Backoff(gang, now), position));
                continue;
            }

            // 4. Find devices for the whole gang.
            var placement = GangPlacer.TryPlace(gang, ledger);

            // 5. Behind a gang that waits for the same kind of device.
            if (firstInLine.TryGetValue(gang.Shape.DeviceKind, out string? first))
            {
                var reason = placement is null
                    ? PendingDiagnosis.Explain(gang, cluster, ledger)
                    : new PendingReason(
                        PendingCode.Priority,
                        $"It needs {PendingDiagnosis.Needs(gang.Shape)}, which are free, but {first} goes first and waits for them.")
                    {
                        Unblocks = [$"{first} starts or is cancelled", $"a priority above that of {first}"],
                    };
                deferred.Add(new GangDeferral(gang.Gang, reason, position));
                continue;
            }

            // 6. Take the devices, or say what is missing.
            if (placement is not null)
            {
                ledger.Take(placement, gang.Shape);
                placed.Add(placement);
                continue;
            }

            var why = PendingDiagnosis.Explain(gang, cluster, ledger);
            deferred.Add(new GangDeferral(gang.Gang, why, position));
            if (Feasibility.FitsNodesInService(cluster, gang))
            {
                firstInLine[gang.Shape.DeviceKind] = gang.Gang;
            }
        }

        return new CyclePlan(placed, deferred);
    }

    private static PendingReason Backoff(PendingGang gang, DateTimeOffset now)
    {
        double seconds = Math.Ceiling((gang.NotBefore.GetValueOrDefault(now) - now).TotalSeconds);
        return new PendingReason(PendingCode.Backoff, $"Its last attempt failed; it is tried again in {seconds} s.")
        {
            Unblocks = [$"{seconds} s pass"],
        };
    }
}
