using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Control;

/// <summary>Times that the control plane keeps.</summary>
public sealed record ControlOptions
{
    /// <summary>How long a node's lease holds; agents renew at a third of it and fence themselves when it ran out.</summary>
    public TimeSpan Lease { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// What is added to a lease that ran out before the node's devices count as free: difference of clocks' speed, time for
    /// the agent to kill its processes, and for ranks to notice that their agent is gone.
    /// </summary>
    public TimeSpan LeaseSkew { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long what a gateway told of its load counts; gateways tell it every second.</summary>
    public TimeSpan LoadExpiry { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Price of a device for an hour, by kind of device; kinds without one cost nothing.</summary>
    public IReadOnlyDictionary<string, double> DevicePricePerHour { get; init; } = new Dictionary<string, double>();

    /// <summary>Whether runtimes that nobody declared are predicted.</summary>
    public bool PredictRuntimes { get; init; } = true;

    /// <summary>Settings of the cycle.</summary>
    public CycleOptions Cycle { get; init; } = new();

    /// <summary>Node groups.</summary>
    public Capacity.CapacityOptions Capacity { get; init; } = new();

    /// <summary>Limits of gangs.</summary>
    public GangTimeouts Gangs { get; init; } = new();
}
