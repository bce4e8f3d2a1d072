using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Control;

/// <summary>What must hold of a control plane's state at every moment.</summary>
public static class Invariants
{
    /// <summary>Every violation as a sentence; empty when all is well.</summary>
    public static IReadOnlyList<string> Check(IEnumerable<GangState> gangs, IEnumerable<NodeState> nodes, DateTimeOffset now, ControlOptions options)
    {
        var violations = new List<string>();
        var devices = nodes.SelectMany(node => node.Inventory.Devices.Select(device => (node.Node, device.Index))).ToHashSet();
        var held = new Dictionary<(string Node, int Device), (int Milli, string Gangs)>();
        foreach (var gang in gangs)
        {
            violations.AddRange(CheckGang(gang, now, options));
            if (!gang.IsActive)
            {
                continue;
            }

            foreach (var member in gang.Attempt!.Members.Where(member => !member.Released))
            {
                foreach (var rank in member.Ranks)
                {
                    foreach (int device in rank.Devices)
                    {
                        var (milli, others) = held.GetValueOrDefault((member.Node, device), (0, ""));
                        held[(member.Node, device)] = (milli + rank.DeviceMilli, $"{others} {gang.Gang}#{gang.Attempt.Number}/{rank.Rank}");
                    }
                }
            }
        }

        violations.AddRange(held.Where(entry => entry.Value.Milli > 1000)
            .Select(entry => $"Device {entry.Key.Device} of {entry.Key.Node} is given away {entry.Value.Milli}‰:{entry.Value.Gangs}."));
        violations.AddRange(held.Keys.Where(key => !devices.Contains(key)).Select(key => $"{key.Node} has no device {key.Device}, but it is given away."));
        return violations;
    }

    private static IEnumerable<string> CheckGang(GangState gang, DateTimeOffset now, ControlOptions options)
    {
        if (gang.IsActive && gang.Attempt is null)
        {
            yield return $"{gang.Gang} is {gang.Stage} without an attempt.";
        }

        if (!gang.IsActive && gang.Attempt is { IsReleased: false })
        {
            yield return $"{gang.Gang} is {gang.Stage}, but attempt {gang.Attempt.Number} holds devices.";
        }

        if (gang.IsTerminal != gang.EndedAt.HasValue)
        {
            yield return $"{gang.Gang} is {gang.Stage} with an end at {gang.EndedAt}.";
        }

        if (gang.Attempt is { } attempt && gang.IsActive)
        {
            int[] ranks = [.. attempt.Members.SelectMany(member => member.Ranks).Select(rank => rank.Rank).Order()];
            if (!ranks.SequenceEqual(Enumerable.Range(0, ranks.Length)) || !gang.Shape.AtEachWidth().Any(shape => shape.Mesh.WorldSize == ranks.Length))
            {
                yield return $"{gang.Gang} attempt {attempt.Number} has ranks {string.Join(",", ranks)} of {gang.Shape.Mesh.WorldSize}.";
            }

            // A deadline is acted on at the next tick; a lease period is more than any two ticks are apart.
            if (attempt.Deadline is { } deadline && now > deadline + options.Lease)
            {
                yield return $"{gang.Gang} attempt {attempt.Number} is {gang.Stage} since {gang.StageSince}, past its deadline {deadline}.";
            }

            if (gang.Stage == GangStage.Stopping && attempt.Outcome is null)
            {
                yield return $"{gang.Gang} attempt {attempt.Number} is being stopped for nothing.";
            }
        }

        if (gang.Checkpoints.Zip(gang.Checkpoints.Skip(1)).Any(pair => pair.Second.Attempt < pair.First.Attempt))
        {
            yield return $"{gang.Gang} has a checkpoint of an older attempt after one of a newer.";
        }
    }
}
