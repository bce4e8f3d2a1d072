namespace Platform.Scheduling.Cycle;

/// <summary>
/// Gangs of equal shape, and what was found out about them: one that was refused speaks for all others as long as nothing
/// has become free.
/// </summary>
internal sealed class ShapeClass(GangShape shape)
{
    private long cycle;

    public GangShape Shape => shape;

    public string Kind => shape.DeviceKind;

    public bool IsElastic { get; } = shape.NarrowerData.Count > 0;

    /// <summary>Thousandths of devices that it needs at least.</summary>
    public long Needed { get; } = (long)shape.Narrowest().DeviceSlots * shape.DeviceMilli;

    /// <summary>Waiting gangs of this shape.</summary>
    public int Users { get; set; }

    /// <summary>The state of the cluster in which it found no place although nothing was kept for others; null for none.</summary>
    public long? RefusedAt { get; set; }

    /// <summary>In this cycle it finds no place when it runs until this time or longer; null when that is not known.</summary>
    public DateTimeOffset? RefusedFrom { get; set; }

    /// <summary>The state of the cycle in which it found a place for a gang that runs until a time; null when that is not known.</summary>
    public (long State, DateTimeOffset Until)? Fits { get; set; }

    /// <summary>What it lacks, in this cycle; null when nobody has asked.</summary>
    public PendingReason? Why { get; set; }

    /// <summary>Why it waits although it fits, in this cycle; null when nobody has asked.</summary>
    public (string First, string Because, PendingReason Reason)? Behind { get; set; }

    /// <summary>Forgets what was true of an earlier cycle only.</summary>
    public ShapeClass In(long current)
    {
        if (cycle != current)
        {
            cycle = current;
            (RefusedFrom, Fits, Why, Behind) = (null, null, null, null);
        }

        return this;
    }
}

/// <summary>Tells shapes apart by their values, the widths of elastic ones included.</summary>
internal sealed class GangShapeComparer : IEqualityComparer<GangShape>
{
    public static GangShapeComparer Instance { get; } = new();

    public bool Equals(GangShape? x, GangShape? y) => ReferenceEquals(x, y)
        || (x is not null && y is not null && x.NarrowerData.SequenceEqual(y.NarrowerData) && x with { NarrowerData = [] } == y with { NarrowerData = [] });

    public int GetHashCode(GangShape shape) => HashCode.Combine(shape.Mesh, shape.DeviceKind, shape.DeviceMilli, shape.DevicesPerRank, shape.PipelineTopology, shape.NarrowerData.Count);
}
