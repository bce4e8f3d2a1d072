using Platform.Scheduling.Capacity;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Control;

/// <summary>Nodes that providers are asked for.</summary>
public sealed partial class ControlPlane
{
    private CapacityState capacity = CapacityState.Empty;

    /// <summary>Nodes that were asked of providers.</summary>
    public CapacityState Capacity => capacity;

    /// <summary>Takes in what providers did or said.</summary>
    public void Observe(IReadOnlyList<CapacityEvent> happened, DateTimeOffset now)
    {
        foreach (var each in happened)
        {
            string? absent = (each as CapacityEvent.Absent)?.Node;
            Adopt(CapacityController.Observe(capacity, each, absent is not null && ActiveOn(absent).Count > 0, options.Capacity, now), now);
        }
    }

    /// <summary>What providers do about a waiting gang, or why they do nothing; empty when there are no groups to ask.</summary>
    public IReadOnlyList<PendingReason> ExplainCapacity(string gang, DateTimeOffset now) =>
        Find(gang) is { Stage: GangStage.Queued } known ? CapacityForecast.Explain(Waiting(known, surplus: false, now), capacity, options.Capacity, now) : [];

    /// <summary>Forgets a node that will not return.</summary>
    /// <returns>False when gangs hold devices of it.</returns>
    public bool Forget(string node)
    {
        if (ActiveOn(node).Count > 0)
        {
            return false;
        }

        if (nodes.Remove(node))
        {
            versions.Remove(node);
            changes.Nodes.Remove(node);
            changes.ForgottenNodes.Add(node);
            cycleNeeded = true;
        }

        return true;
    }

    private void RunCapacity(DateTimeOffset now)
    {
        if (options.Capacity.Groups.Any(group => group.IsElastic) || capacity.Nodes.Count > 0)
        {
            Adopt(CapacityController.Decide(capacity, CapacityInput(now), options.Capacity, now), now);
        }
    }

    private void Adopt((CapacityState State, IReadOnlyList<CapacityEffect> Effects) decided, DateTimeOffset now)
    {
        changes.Capacity |= !ReferenceEquals(capacity, decided.State);
        capacity = decided.State;
        foreach (var effect in decided.Effects)
        {
            switch (effect)
            {
                case CapacityEffect.Drain drain:
                    SetDraining(drain.Node, true, now);
                    break;
                case CapacityEffect.Forget forget:
                    Forget(forget.Node);
                    break;
            }
        }
    }

    private CapacityInput CapacityInput(DateTimeOffset now)
    {
        var input = Input(now);
        var queue = input.QueueLedger();
        var waiting = new List<PendingGang>();
        foreach (var gang in input.Waiting.Where(IsShort).OrderBy(gang => deferrals[gang.Gang].Position))
        {
            long milli = (long)gang.Shape.Narrowest().DeviceSlots * gang.Shape.DeviceMilli;
            if (queue.Available(gang.Queue, gang.Shape.DeviceKind) >= milli)
            {
                queue.Add(gang.Queue, gang.Shape.DeviceKind, milli);
                waiting.Add(gang with { Shape = gang.Shape.AtMost(milli) });
            }
        }

        return new CapacityInput
        {
            Cluster = input.Cluster,
            Waiting = waiting,
            Held = [.. input.Running.Select(running => new HeldGang(running, ShapeOf(running)))],
            IsLive = gang => Find(gang) is { IsTerminal: false },
        };
    }

    /// <summary>Whether more devices would let the gang start: it is not its quota, its budget or its own wait that keeps it.</summary>
    private bool IsShort(PendingGang gang) => deferrals.TryGetValue(gang.Gang, out var deferral)
        && deferral.Reason.Code is not (PendingCode.Quota or PendingCode.Backoff or PendingCode.Budget);

    private GangShape ShapeOf(RunningGang running)
    {
        var shape = gangs[running.Gang].Shape;
        int ranks = running.Placement.Members.Sum(member => member.Ranks.Count);
        return shape.AtEachWidth().FirstOrDefault(width => width.Mesh.WorldSize == ranks) ?? shape with { NarrowerData = [] };
    }
}
