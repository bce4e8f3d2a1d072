namespace Platform.Scheduling.Placement;

/// <summary>What one rank needs of one node. A value: requests with equal members are the same to every policy.</summary>
public sealed record RankRequest
{
    /// <summary>Kind of device: <c>cpu</c> or <c>cuda</c>.</summary>
    public required string DeviceKind { get; init; }

    /// <summary>Devices; 0 for a program that computes on the host alone.</summary>
    public int Devices { get; init; } = 1;

    /// <summary>Thousandths of each of those devices, 1 to 1000.</summary>
    public int DeviceMilli { get; init; } = 1000;

    /// <summary>Device memory that the share must hold; 0 for no claim.</summary>
    public long DeviceMemoryBytes { get; init; }

    /// <summary>Device models that it accepts, separated by <c>|</c>; empty for any.</summary>
    public string Models { get; init; } = "";

    /// <summary>Thousandths of processor cores; 0 for no claim.</summary>
    public long CpuMilli { get; init; }

    /// <summary>Host memory; 0 for no claim.</summary>
    public long MemoryBytes { get; init; }

    /// <summary>Whether nodes that can be taken away at short notice will do.</summary>
    public bool AllowsSpot { get; init; }

    /// <summary>Node group that the node must belong to; empty for any.</summary>
    public string NodeGroup { get; init; } = "";

    /// <summary>The gang whose own cluster the node must belong to; empty for the shared cluster.</summary>
    public string Cluster { get; init; } = "";

    /// <summary>Thousandths of devices in all.</summary>
    public int TotalMilli => Devices * DeviceMilli;

    /// <summary>Whether it accepts a device model.</summary>
    public bool Accepts(string model) => Models.Length == 0 || Contains(Models, model);

    private static bool Contains(ReadOnlySpan<char> models, ReadOnlySpan<char> model)
    {
        foreach (var range in models.Split('|'))
        {
            if (models[range].SequenceEqual(model))
            {
                return true;
            }
        }

        return false;
    }
}
