using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Control;

/// <summary>Nodes: leases, what is wanted of them and what they report.</summary>
public sealed partial class ControlPlane
{
    /// <summary>A node renews its lease.</summary>
    /// <param name="node">Its name.</param>
    /// <param name="incarnation">Run of its agent.</param>
    /// <param name="agentAddress">Address of its agent.</param>
    /// <param name="inventory">What it offers; null when that has not changed since it last said so.</param>
    /// <param name="reports">A report for each gang known to the agent.</param>
    /// <param name="now">The time.</param>
    public LeaseRenewal Renew(
        string node, string incarnation, string agentAddress, NodeInventory? inventory, IReadOnlyList<GangMemberReport> reports, DateTimeOffset now)
    {
        var known = nodes.GetValueOrDefault(node);
        if (inventory is null && known?.Incarnation != incarnation)
        {
            return new LeaseRenewal(options.Lease, 0, InventoryNeeded: true);
        }

        bool anew = known is not null && known.Incarnation != incarnation;
        var renewed = new NodeState
        {
            Node = node,
            Incarnation = incarnation,
            AgentAddress = agentAddress,
            Inventory = inventory ?? known!.Inventory,
            LeaseUntil = now + options.Lease,
            // A machine that runs its agent anew after it was to be taken away has been spared, or is another one.
            Draining = known is { Draining: true } && !(anew && known.LeavesAt is not null),
            LeavesAt = anew ? null : known?.LeavesAt,
            Cordoned = known?.Cordoned ?? false,
        };
        if (known is null || anew || known.Lost || inventory is not null)
        {
            Put(renewed);
        }
        else
        {
            nodes[node] = renewed;
        }

        if (anew)
        {
            foreach (var gang in ActiveOn(node).Where(gang => !reports.Any(report => report.Gang == gang.Gang && report.Attempt == gang.Attempt!.Number)))
            {
                Apply(gang.Gang, new GangEvent.MemberForgotten(node), now);
            }
        }

        foreach (var report in reports)
        {
            Report(report, now);
        }

        return new LeaseRenewal(options.Lease, VersionOf(node), InventoryNeeded: false);
    }

    /// <summary>A member's state changed. Reports of another run of the agent than the one that holds the lease are ignored: they come again.</summary>
    public void Report(GangMemberReport report, DateTimeOffset now)
    {
        if (nodes.TryGetValue(report.Node, out var node) && node.Incarnation == report.Incarnation)
        {
            Apply(report.Gang, new GangEvent.MemberReported(report), now);
        }
    }

    /// <summary>Everything wanted of a node now; null when this run of its agent does not hold the lease.</summary>
    public (long Version, IReadOnlyList<GangAssignment> Assignments)? AssignmentsOf(string node, string incarnation) =>
        nodes.TryGetValue(node, out var known) && known.Incarnation == incarnation
            ? (VersionOf(node), [.. ActiveOn(node).SelectMany(gang => GangCoordinator.Assignments(gang, epoch, options.Gangs)).Where(assignment => assignment.Node == node)])
            : null;

    /// <summary>Takes a node out of service, or puts it back. Gangs on a node that goes are moved by checkpoint.</summary>
    /// <param name="node">The node.</param>
    /// <param name="draining">Whether it goes.</param>
    /// <param name="now">The time.</param>
    /// <param name="leavesAt">When it will be gone, so that its gangs must have left; null for the usual grace.</param>
    /// <returns>Whether the node is known.</returns>
    public bool SetDraining(string node, bool draining, DateTimeOffset now, DateTimeOffset? leavesAt = null)
    {
        if (!nodes.TryGetValue(node, out var known))
        {
            return false;
        }

        leavesAt = draining ? leavesAt ?? known.LeavesAt : null;
        if (known.Draining != draining || (known.LeavesAt is null) != (leavesAt is null))
        {
            Put(known with { Draining = draining, LeavesAt = leavesAt });
            foreach (var gang in ActiveOn(node))
            {
                Follow(gang.Gang, nodes[node], now);
            }
        }

        return true;
    }

    /// <summary>Keeps new gangs off a node while those that run stay, or lets them on again and ends a drain.</summary>
    /// <returns>Whether the node is known.</returns>
    public bool SetCordoned(string node, bool cordoned)
    {
        if (!nodes.TryGetValue(node, out var known))
        {
            return false;
        }

        if (known.Cordoned != cordoned)
        {
            Put(known with { Cordoned = cordoned });
        }

        return true;
    }

    private IReadOnlyList<GangState> ActiveOn(string node) =>
        [.. gangs.Values.Where(gang => gang.IsActive && gang.Attempt!.Members.Any(member => member.Node == node && !member.Released))];

    private void Follow(string gang, NodeState node, DateTimeOffset now)
    {
        if (node.Gone)
        {
            Apply(gang, new GangEvent.NodeGone(node.Node), now);
        }
        else if (node.Lost)
        {
            Apply(gang, new GangEvent.NodeExpired(node.Node), now);
        }
        else if (node.Draining)
        {
            Apply(gang, new GangEvent.YieldRequested(node.LeavesAt is null ? $"{node.Node} is drained" : $"{node.Node} is being taken away") { Until = node.LeavesAt }, now);
        }
    }

    private long VersionOf(string node)
    {
        if (!versions.TryGetValue(node, out long version))
        {
            versions[node] = version = ++lastVersion;
        }

        return version;
    }
}
