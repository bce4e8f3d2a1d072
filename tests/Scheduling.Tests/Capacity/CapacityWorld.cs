using Platform.Scheduling.Capacity;
using Platform.Scheduling.Cycle;
using Xunit;

namespace Platform.Scheduling.Tests.Capacity;

/// <summary>A provider as a test wants it, gangs that come and go, and the machine between them, over a virtual clock.</summary>
internal sealed class CapacityWorld(CapacityOptions options)
{
    private readonly Dictionary<string, DateTimeOffset> existing = [];
    private readonly HashSet<string> draining = [];
    private readonly Dictionary<string, NodeSnapshot> joined = [];
    private readonly Dictionary<string, (GangPlacement Placement, GangShape Shape, DateTimeOffset Since)> running = [];
    private readonly List<PendingGang> waiting = [];

    public DateTimeOffset Now { get; private set; } = Given.Noon;

    public CapacityState State { get; private set; } = CapacityState.Empty;

    /// <summary>Seconds until a created node joins; null for never.</summary>
    public Func<string, double?> JoinsAfter { get; set; } = _ => 1;

    /// <summary>Whether the provider refuses to create a node.</summary>
    public Func<string, bool> Refuses { get; set; } = _ => false;

    public IReadOnlyCollection<string> Existing => existing.Keys;

    public IReadOnlyCollection<string> Joined => joined.Keys;

    public IReadOnlyCollection<string> Running => running.Keys;

    public IReadOnlyList<string> Waiting => [.. waiting.Select(gang => gang.Gang)];

    public int Asked { get; private set; }

    /// <summary>Gangs may be moved for consolidation.</summary>
    public bool Movable { get; init; }

    public int Of(ManagedNodePhase phase) => State.Nodes.Count(node => node.Phase == phase);

    public void Submit(string gang, GangShape shape) => waiting.Add(Given.Waiting(gang, shape, submitted: waiting.Count + running.Count));

    public void End(string gang)
    {
        waiting.RemoveAll(known => known.Gang == gang);
        running.Remove(gang);
    }

    /// <summary>One second passes.</summary>
    public void Step(int seconds = 1)
    {
        for (int second = 0; second < seconds; second++)
        {
            Now += TimeSpan.FromSeconds(1);
            Provide();
            Schedule();
            var before = State;
            Take(CapacityController.Decide(State, Input(), options, Now));
            Check(before);
        }
    }

    public IReadOnlyList<PendingReason> Explain(string gang) => CapacityForecast.Explain(waiting.Single(known => known.Gang == gang), State, options, Now);

    private void Provide()
    {
        foreach (var node in State.Nodes)
        {
            bool exists = existing.ContainsKey(node.Name);
            switch (node.Phase)
            {
                case ManagedNodePhase.Asked when !exists && Refuses(node.Name):
                    Observe(new CapacityEvent.Refused(node.Name, "No quota."));
                    break;
                case ManagedNodePhase.Asked when !exists:
                    existing[node.Name] = JoinsAfter(node.Name) is { } delay ? Now.AddSeconds(delay) : DateTimeOffset.MaxValue;
                    break;
                case ManagedNodePhase.Removing when exists:
                    existing.Remove(node.Name);
                    joined.Remove(node.Name);
                    break;
                case ManagedNodePhase.Removing:
                    Observe(new CapacityEvent.Absent(node.Name));
                    break;
            }
        }

        foreach (var node in State.Nodes.Where(node => existing.TryGetValue(node.Name, out var at) && at <= Now && !joined.ContainsKey(node.Name)))
        {
            joined[node.Name] = options.Groups.Single(group => group.Name == node.Group).Node(node.Name, node.Cluster);
        }
    }

    private void Schedule()
    {
        foreach (var gang in running.Where(entry => entry.Value.Placement.Members.Any(member => draining.Contains(member.Node))).ToList())
        {
            running.Remove(gang.Key);
            waiting.Add(Given.Waiting(gang.Key, gang.Value.Shape));
        }

        var plan = SchedulingCycle.Decide(Snapshot(), waiting, Now);
        foreach (var placed in plan.Placed)
        {
            running[placed.Gang] = (placed, waiting.Single(gang => gang.Gang == placed.Gang).Shape, Now);
            waiting.RemoveAll(gang => gang.Gang == placed.Gang);
        }
    }

    private ClusterSnapshot Snapshot()
    {
        var held = running.Values.SelectMany(gang => gang.Placement.Members.SelectMany(member => member.Ranks.SelectMany(rank => rank.Devices.Select(device => (member.Node, device))))).ToHashSet();
        return new ClusterSnapshot([.. joined.Values.OrderBy(node => node.Name, StringComparer.Ordinal).Select(node => node with
        {
            Schedulable = !draining.Contains(node.Name),
            Condition = draining.Contains(node.Name) ? "draining" : "",
            Devices = [.. node.Devices.Select(device => device with { FreeMilli = held.Contains((node.Name, device.Index)) ? 0 : 1000 })],
        })]);
    }

    private CapacityInput Input() => new()
    {
        Cluster = Snapshot(),
        Waiting = waiting,
        Held = [.. running.Select(gang => new HeldGang(
            new RunningGang { Placement = gang.Value.Placement, Rank = gang.Value.Shape.Rank, RunningSince = gang.Value.Since, SavedAt = Movable ? Now : null, MayYield = Movable },
            gang.Value.Shape))],
        IsLive = gang => running.ContainsKey(gang) || waiting.Any(known => known.Gang == gang),
    };

    private void Observe(CapacityEvent happened) => Take(CapacityController.Observe(State, happened, isBusy: false, options, Now));

    private void Take((CapacityState State, IReadOnlyList<CapacityEffect> Effects) decided)
    {
        State = decided.State;
        foreach (var effect in decided.Effects)
        {
            switch (effect)
            {
                case CapacityEffect.Drain drain:
                    Assert.True(Movable || !running.Values.Any(gang => gang.Placement.Members.Any(member => member.Node == drain.Node)), $"{drain.Node} is drained under a gang.");
                    draining.Add(drain.Node);
                    break;
                case CapacityEffect.Forget forget:
                    Assert.DoesNotContain(forget.Node, existing.Keys);
                    draining.Remove(forget.Node);
                    break;
            }
        }
    }

    /// <summary>No storm: never more than a group may have, never more than waiting gangs need, one intent per gang, no name twice.</summary>
    private void Check(CapacityState before)
    {
        Assert.Equal(State.Nodes.Count, State.Nodes.Select(node => node.Name).Distinct().Count());
        Assert.All(existing.Keys, name => Assert.Contains(State.Nodes, node => node.Name == name));
        foreach (var group in options.Groups)
        {
            Assert.InRange(State.Nodes.Count(node => node.Group == group.Name), 0, group.MaxNodes);
        }

        var fresh = State.Nodes.Where(node => !before.Nodes.Any(known => known.Name == node.Name)).ToList();
        Asked += fresh.Count;
        foreach (var gang in fresh.Where(node => node.For is not null).GroupBy(node => node.For))
        {
            var shape = waiting.Single(known => known.Gang == gang.Key).Shape;
            Assert.Single(State.Nodes.Where(node => node.Phase == ManagedNodePhase.Asked && node.For == gang.Key).Select(node => node.AskedAt).Distinct());
            int devices = options.Groups.Single(group => group.Name == gang.First().Group).Devices;
            Assert.InRange(gang.Count(), 1, (shape.DeviceSlots + devices - 1) / devices);
        }
    }
}
