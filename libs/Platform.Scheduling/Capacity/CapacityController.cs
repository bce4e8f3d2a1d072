namespace Platform.Scheduling.Capacity;

/// <summary>
/// How large the cluster is to be, as a state machine without I/O. Nodes are asked for only when a whole waiting gang fits
/// with them, the fewest that do, and only once per gang until they have joined or their time is over; a group whose provider
/// failed rests, longer each time. Nodes that nobody needs leave after a while, empty ones only. So the number of nodes of a
/// group never exceeds its maximum, and what is on its way never exceeds what gangs wait for and minimums, whatever a
/// provider does.
/// </summary>
public static class CapacityController
{
    private static readonly IReadOnlyList<CapacityEffect> Nothing = [];

    /// <summary>What becomes of the nodes now.</summary>
    public static (CapacityState State, IReadOnlyList<CapacityEffect> Effects) Decide(
        CapacityState state, CapacityInput input, CapacityOptions options, DateTimeOffset now)
    {
        var step = new CapacityStep(state, input, options, now);
        step.Follow();
        step.KeepMinimum();
        step.Grow();
        step.Shrink();
        step.Consolidate();
        return step.Conclude();
    }

    /// <summary>Takes in what a provider did or said. Events that are late, doubled or of unknown nodes change nothing.</summary>
    /// <param name="state">What was known.</param>
    /// <param name="happened">What happened.</param>
    /// <param name="isBusy">Whether gangs hold devices of the node: it is not forgotten before they have let go.</param>
    /// <param name="options">Groups and times.</param>
    /// <param name="now">The time.</param>
    public static (CapacityState State, IReadOnlyList<CapacityEffect> Effects) Observe(
        CapacityState state, CapacityEvent happened, bool isBusy, CapacityOptions options, DateTimeOffset now)
    {
        string name = happened switch
        {
            CapacityEvent.Refused refused => refused.Node,
            CapacityEvent.Absent absent => absent.Node,
            CapacityEvent.Told told => told.Node,
            _ => throw new ArgumentOutOfRangeException(nameof(happened), happened, "Expected an event of a provider."),
        };
        if (state.Nodes.FirstOrDefault(known => known.Name == name) is not { } node)
        {
            return (state, Nothing);
        }

        switch (happened)
        {
            case CapacityEvent.Refused refused when node.Phase == ManagedNodePhase.Asked:
                // It may have been created all the same, by a call whose answer was lost: so it is removed, not forgotten.
                return (Fail(Replace(state, node with { Phase = ManagedNodePhase.Removing, Reason = refused.Reason }), node.Group, refused.Reason, options, now), Nothing);
            case CapacityEvent.Absent when isBusy && node.Phase != ManagedNodePhase.Removing:
                return (Replace(state, node with { Phase = ManagedNodePhase.Removing, Reason = "Its provider does not have it any more." }), Nothing);
            case CapacityEvent.Absent when !isBusy:
                var without = state with { Nodes = [.. state.Nodes.Where(known => known.Name != name)] };
                return (
                    node.Phase == ManagedNodePhase.Asked ? Fail(without, node.Group, $"{name} ended before it joined.", options, now) : without,
                    [new CapacityEffect.Forget(name)]);
            case CapacityEvent.Told told when node.Detail != told.Detail:
                return (Replace(state, node with { Detail = told.Detail }), Nothing);
            default:
                return (state, Nothing);
        }
    }

    /// <summary>The group rests. Failures of one batch count once.</summary>
    internal static CapacityState Fail(CapacityState state, string group, string reason, CapacityOptions options, DateTimeOffset now)
    {
        var before = state.Backoffs.GetValueOrDefault(group);
        if (before is not null && before.NotBefore > now)
        {
            return state;
        }

        int failures = (before?.Failures ?? 0) + 1;
        double seconds = options.BackoffBase.TotalSeconds * Math.Pow(2, Math.Min(failures - 1, 30));
        var backoff = new GroupBackoff(failures, now + TimeSpan.FromSeconds(Math.Min(seconds, options.BackoffLimit.TotalSeconds)), reason);
        return state with { Backoffs = new Dictionary<string, GroupBackoff>(state.Backoffs) { [group] = backoff } };
    }

    private static CapacityState Replace(CapacityState state, ManagedNode node) =>
        state with { Nodes = [.. state.Nodes.Select(known => known.Name == node.Name ? node : known)] };
}
