namespace Platform.Core.Jobs;

/// <summary>
/// Which steps are skipped, and when there are too many of them. A step whose loss or gradient is not finite is always skipped.
/// </summary>
public sealed record LossGuardSpec
{
    /// <summary>
    /// Skip a step whose loss or gradient norm lies more than so many standard deviations above the mean of the window; 0 for
    /// never.
    /// </summary>
    public double SpikeZScore { get; init; }

    /// <summary>Steps that a spike is compared with.</summary>
    public int Window { get; init; } = 128;

    /// <summary>The job stops at so many skipped steps in a row.</summary>
    public int MaxConsecutiveSkips { get; init; } = 5;

    /// <summary>The job stops at so many skipped steps in all.</summary>
    public int MaxSkips { get; init; } = 100;
}
