namespace Platform.Scheduling.Cycle;

/// <summary>Why a gang is not placed. In the API these are the names in upper snake case.</summary>
public enum PendingCode
{
    /// <summary>Its queue may not use more.</summary>
    Quota,

    /// <summary>Its queue, or one above it, has used up its budget.</summary>
    Budget,

    /// <summary>It would fit, but a gang that goes first waits for those devices.</summary>
    Priority,

    /// <summary>Too few devices are free.</summary>
    Capacity,

    /// <summary>Enough is free in sum, but in pieces that are too small.</summary>
    Fragmentation,

    /// <summary>Enough devices are free, but not near enough to each other.</summary>
    Topology,

    /// <summary>It would fit if nodes that are lost, draining or unhealthy were in service.</summary>
    NodeHealth,

    /// <summary>It waits before it is tried again.</summary>
    Backoff,

    /// <summary>What a provider of nodes does about it, or why it does nothing.</summary>
    Provider,

    /// <summary>Devices are set aside: for it, once others have left them, or for a gang that goes first.</summary>
    Reservation,
}

/// <summary>Devices, in thousandths.</summary>
/// <param name="DeviceKind"><c>cpu</c> or <c>cuda</c>.</param>
/// <param name="NeededMilli">What is needed.</param>
/// <param name="FreeMilli">What is free, or of a quota available.</param>
/// <param name="TotalMilli">What there is.</param>
/// <param name="MissingMilli">What is missing.</param>
public sealed record PendingFigures(string DeviceKind, long NeededMilli, long FreeMilli, long TotalMilli, long MissingMilli);

/// <summary>Why a gang is not placed, with the figures that decide it.</summary>
/// <param name="Code">Kind of reason.</param>
/// <param name="Message">The figures as a sentence.</param>
public sealed record PendingReason(PendingCode Code, string Message)
{
    /// <summary>The gang, queue, node or topology domain that it is about; empty for none.</summary>
    public string Subject { get; init; } = "";

    /// <summary>The numbers behind the message; null where there are none.</summary>
    public PendingFigures? Figures { get; init; }

    /// <summary>What lies behind it.</summary>
    public IReadOnlyList<PendingReason> Causes { get; init; } = [];

    /// <summary>Changes after which the gang would be placed.</summary>
    public IReadOnlyList<string> Unblocks { get; init; } = [];
}
