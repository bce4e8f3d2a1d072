using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Capacity;

/// <summary>One decision of <see cref="CapacityController"/>: its parts in order, over what was and what is.</summary>
internal sealed class CapacityStep
{
    /// <summary>Gangs looked at in one step; those behind them are looked at once these have their nodes.</summary>
    private const int GangsExamined = 256;

    /// <summary>Gangs for which nodes are asked in one step.</summary>
    private const int AsksAtOnce = 16;

    private readonly CapacityState before;
    private readonly CapacityInput input;
    private readonly CapacityOptions options;
    private readonly DateTimeOffset now;
    private readonly SortedDictionary<string, ManagedNode> nodes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, NodeSnapshot> known;
    private readonly HashSet<string> busy;
    private readonly HashSet<string> needed = [];
    private readonly List<CapacityEffect> effects = [];
    private CapacityState state;
    private bool changed;
    private bool moved;

    public CapacityStep(CapacityState state, CapacityInput input, CapacityOptions options, DateTimeOffset now)
    {
        (before, this.state, this.input, this.options, this.now) = (state, state, input, options, now);
        known = input.Cluster.Nodes.ToDictionary(node => node.Name);
        busy = [.. input.Held.SelectMany(held => held.Gang.Placement.Members.Select(member => member.Node))];
        foreach (var node in state.Nodes)
        {
            nodes[node.Name] = node;
        }
    }

    /// <summary>1. What has joined, what did not come in time, what was lost, and what has been emptied.</summary>
    public void Follow()
    {
        foreach (var node in nodes.Values.ToList())
        {
            bool isHere = known.TryGetValue(node.Name, out var snapshot) && snapshot.Condition != "lost";
            switch (node.Phase)
            {
                case ManagedNodePhase.Asked when isHere:
                    Put(node with { Phase = ManagedNodePhase.Joined, Detail = "" });
                    Recover(node.Group);
                    break;
                case ManagedNodePhase.Asked when now >= node.JoinUntil:
                    string late = $"{node.Name} did not join within {options.AskLease.TotalSeconds:0} s.";
                    Put(node with { Phase = ManagedNodePhase.Removing, Reason = node.Detail.Length > 0 ? $"{late} {node.Detail}" : late });
                    state = CapacityController.Fail(state, node.Group, nodes[node.Name].Reason, options, now);
                    break;
                case ManagedNodePhase.Joined when !isHere && !busy.Contains(node.Name):
                    Put(node with { Phase = ManagedNodePhase.Removing, Reason = "Its lease ran out." });
                    break;
                case ManagedNodePhase.Draining when !busy.Contains(node.Name):
                    Put(node with { Phase = ManagedNodePhase.Removing });
                    break;
            }
        }
    }

    /// <summary>2. What groups keep anyway.</summary>
    public void KeepMinimum()
    {
        foreach (var group in options.Groups.Where(group => group.IsElastic && MayAsk(group)))
        {
            int missing = Math.Min(group.MinNodes - Shared(group), Room(group));
            for (int i = 0; i < missing; i++)
            {
                Ask(group, null, "");
            }
        }
    }

    /// <summary>3. Nodes for whole gangs that fit with them. Earlier gangs take their places first, also on nodes that are still to come.</summary>
    public void Grow()
    {
        var ledger = new DeviceLedger(new ClusterSnapshot([.. Usable(), .. nodes.Values.Where(node => node.Phase == ManagedNodePhase.Asked).Select(Coming)]));
        var helpless = new HashSet<GangShape>();
        int asks = 0;
        foreach (var gang in input.Waiting.Take(GangsExamined))
        {
            bool hasAsked = nodes.Values.Any(node => node.Phase == ManagedNodePhase.Asked && node.For == gang.Gang);
            if (!helpless.Contains(gang.Shape) && GangPlacer.TryPlace(gang, ledger) is { } place)
            {
                ledger.Take(place, gang.Shape.Rank);
                needed.UnionWith(place.Members.Select(member => member.Node));
                continue;
            }

            if (hasAsked)
            {
                // One intent per gang: what is on its way comes first, even when others took the places.
                needed.UnionWith(nodes.Values.Where(node => node.Phase == ManagedNodePhase.Asked && node.For == gang.Gang).Select(node => node.Name));
                continue;
            }

            if (gang.Nominated is not null || helpless.Contains(gang.Shape) || asks == AsksAtOnce || Best(gang, ledger) is not { } growth)
            {
                helpless.Add(gang.Shape);
                continue;
            }

            asks++;
            var added = new List<NodeSnapshot>();
            for (int i = 0; i < growth.Nodes; i++)
            {
                var node = Ask(growth.Group, gang.Gang, gang.Shape.Cluster ?? "");
                needed.Add(node.Name);
                added.Add(growth.Group.Node(node.Name, node.Cluster));
            }

            ledger = With(ledger, added);
            helpless.Clear();
            if (GangPlacer.TryPlace(gang, ledger) is { } placed)
            {
                ledger.Take(placed, gang.Shape.Rank);
            }
        }
    }

    /// <summary>4. Nodes that nobody needs leave after a delay, those of a job's own cluster when the job is over.</summary>
    public void Shrink()
    {
        foreach (var node in nodes.Values.Where(node => node.Stays).ToList())
        {
            if (node.Cluster.Length > 0 && !input.IsLive(node.Cluster) && !busy.Contains(node.Name))
            {
                Leave(node, $"{node.Cluster} is over.");
                continue;
            }

            bool isIdle = !needed.Contains(node.Name) && !busy.Contains(node.Name);
            if (isIdle != node.IdleSince.HasValue)
            {
                Put(node with { IdleSince = isIdle ? now : null });
            }
            else if (node.IdleSince is { } since && now - since >= options.IdleDelay && IsAboveMinimum(node))
            {
                Leave(node, $"Nobody has needed it for {options.IdleDelay.TotalSeconds:0} s.");
            }
        }
    }

    /// <summary>5. One node whose gangs may all be moved and fit elsewhere as they are, when nothing else is going on.</summary>
    public void Consolidate()
    {
        if (!options.Consolidation || input.Waiting.Count > 0 || nodes.Values.Any(node => node.Phase is ManagedNodePhase.Asked or ManagedNodePhase.Draining)
            || now - state.ChangedAt < options.ConsolidationDelay)
        {
            return;
        }

        foreach (var node in nodes.Values
            .Where(node => node.Phase == ManagedNodePhase.Joined && node.Cluster.Length == 0 && busy.Contains(node.Name) && IsAboveMinimum(node))
            .OrderBy(node => HeldMilli(node.Name)).ToList())
        {
            List<HeldGang> here = [.. input.Held.Where(held => held.Gang.Placement.Members.Any(member => member.Node == node.Name))];
            if (here.All(MayMove) && FitElsewhere(node.Name, here))
            {
                effects.Add(new CapacityEffect.Drain(node.Name));
                Put(node with { Phase = ManagedNodePhase.Draining, Reason = "What runs on it fits on other nodes." });
                moved = true;
                return;
            }
        }
    }

    public (CapacityState State, IReadOnlyList<CapacityEffect> Effects) Conclude()
    {
        if (!changed && ReferenceEquals(state, before))
        {
            return (before, effects);
        }

        return (state with { Nodes = [.. nodes.Values], ChangedAt = moved ? now : state.ChangedAt }, effects);
    }

    /// <summary>The fewest nodes with which the whole gang fits, over all groups that may be asked; null when none has enough.</summary>
    private (NodeGroup Group, int Nodes)? Best(PendingGang gang, DeviceLedger ledger)
    {
        (NodeGroup Group, int Nodes)? best = null;
        var rank = gang.Shape.Rank;
        string cluster = gang.Shape.Cluster ?? "";
        foreach (var group in options.Groups.Where(group => group.IsElastic && MayAsk(group) && group.Node("", cluster).Admits(rank)))
        {
            int room = Room(group);
            if (room > 0 && Fewest(gang, group, room, ledger) is { } count && (best is not { } found || count * group.Devices < found.Nodes * found.Group.Devices))
            {
                best = (group, count);
            }
        }

        return best;
    }

    private static int? Fewest(PendingGang gang, NodeGroup group, int room, DeviceLedger ledger)
    {
        bool Fits(int count) => GangPlacer.TryPlace(
            gang, With(ledger, [.. Enumerable.Range(1, count).Select(n => group.Node($"~{group.Name}-{n}", gang.Shape.Cluster ?? ""))])) is not null;

        // Doubling and then halving: more nodes never make a gang fit less.
        int high = 1;
        while (!Fits(high))
        {
            if (high == room)
            {
                return null;
            }

            high = Math.Min(room, high * 2);
        }

        int low = high / 2;
        while (high - low > 1)
        {
            int middle = (low + high) / 2;
            (low, high) = Fits(middle) ? (low, middle) : (middle, high);
        }

        return high;
    }

    private ManagedNode Ask(NodeGroup group, string? gang, string cluster)
    {
        state = state with { LastNumber = state.LastNumber + 1 };
        var node = new ManagedNode($"{group.Name}-{state.LastNumber}", group.Name, ManagedNodePhase.Asked, now)
        {
            For = gang,
            Cluster = cluster,
            JoinUntil = now + options.AskLease,
        };
        Put(node);
        moved = true;
        return node;
    }

    private void Leave(ManagedNode node, string reason)
    {
        bool isHere = node.Phase == ManagedNodePhase.Joined && known.ContainsKey(node.Name);
        if (isHere)
        {
            effects.Add(new CapacityEffect.Drain(node.Name));
        }

        // It is removed in the next step, if nothing was placed on it until it was closed.
        Put(node with { Phase = isHere ? ManagedNodePhase.Draining : ManagedNodePhase.Removing, Reason = reason });
        moved = true;
    }

    private void Recover(string group)
    {
        if (state.Backoffs.ContainsKey(group))
        {
            state = state with { Backoffs = state.Backoffs.Where(entry => entry.Key != group).ToDictionary() };
        }
    }

    private void Put(ManagedNode node)
    {
        nodes[node.Name] = node;
        changed = true;
    }

    private bool MayAsk(NodeGroup group) => state.Backoffs.GetValueOrDefault(group.Name) is not { } backoff || backoff.NotBefore <= now;

    /// <summary>Nodes that may still be asked of a group. One that is being removed may be there still.</summary>
    private int Room(NodeGroup group) => group.MaxNodes - nodes.Values.Count(node => node.Group == group.Name);

    private int Shared(NodeGroup group) => nodes.Values.Count(node => node.Group == group.Name && node.Stays && node.Cluster.Length == 0);

    private bool IsAboveMinimum(ManagedNode node) =>
        node.Cluster.Length > 0 || options.Groups.FirstOrDefault(group => group.Name == node.Group) is not { } group || Shared(group) > group.MinNodes;

    private IEnumerable<NodeSnapshot> Usable() => input.Cluster.Nodes.Where(
        node => node.Schedulable && (!nodes.TryGetValue(node.Name, out var own) || own.Stays));

    private NodeSnapshot Coming(ManagedNode node) => options.Groups.FirstOrDefault(group => group.Name == node.Group) is { } group
        ? group.Node(node.Name, node.Cluster)
        : new NodeGroup { Name = node.Group, Provider = NodeGroup.Static, Devices = 0 }.Node(node.Name, node.Cluster);

    private bool MayMove(HeldGang held) => held.Gang.MayYield && (held.Gang.SavedAt is not null || held.Shape.AllowsSpot)
        && now - held.Gang.RunningSince >= options.ConsolidationDelay;

    private int HeldMilli(string node) => known.TryGetValue(node, out var snapshot) ? snapshot.Devices.Sum(device => 1000 - device.FreeMilli) : 0;

    private bool FitElsewhere(string node, List<HeldGang> gangs)
    {
        var ledger = new DeviceLedger(new ClusterSnapshot([.. Usable().Where(other => other.Name != node)]));
        using var scope = new LedgerScope(ledger);
        foreach (var held in gangs)
        {
            scope.Free(held.Gang.Placement, held.Gang.Rank);
        }

        foreach (var held in gangs)
        {
            var pending = new PendingGang { Gang = held.Gang.Gang, Shape = held.Shape, SubmittedAt = now };
            if (GangPlacer.TryPlace(pending, ledger) is not { } place)
            {
                return false;
            }

            scope.Withhold(place, held.Shape.Rank);
        }

        return true;
    }

    /// <summary>A ledger with what is free in another, and more nodes.</summary>
    private static DeviceLedger With(DeviceLedger ledger, IReadOnlyList<NodeSnapshot> more) => new(new ClusterSnapshot(
    [
        .. ledger.Nodes.Select(node => node.Node with
        {
            FreeMemoryBytes = node.FreeMemoryBytes,
            FreeCpuMilli = node.FreeCpuMilli,
            Devices = [.. node.Node.Devices.Select((device, position) => device with { FreeMilli = node.FreeMilli[position] })],
        }),
        .. more,
    ]));
}
