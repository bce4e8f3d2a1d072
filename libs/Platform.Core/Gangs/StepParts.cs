using Platform.Core.Jobs;

namespace Platform.Core.Gangs;

/// <summary>What a rank's time goes to.</summary>
public enum StepPart
{
    /// <summary>Forward and backward.</summary>
    Compute,

    /// <summary>Waiting for collectives and sends that nothing hides.</summary>
    Communication,

    /// <summary>Waiting for another pipeline stage.</summary>
    Bubble,

    /// <summary>Reading the batch.</summary>
    Data,

    /// <summary>Norm and update of the weights.</summary>
    Optimizer,

    /// <summary>The time for which a checkpoint stops training.</summary>
    Checkpoint,

    /// <summary>Evaluation, reports, and what is not attributed.</summary>
    Other,
}

/// <summary>Seconds of a step by what they went to.</summary>
/// <param name="Compute">Forward and backward.</param>
/// <param name="Communication">Waiting for collectives and sends that nothing hides.</param>
/// <param name="Bubble">Waiting for another pipeline stage.</param>
/// <param name="Data">Reading the batch.</param>
/// <param name="Optimizer">Norm and update of the weights.</param>
/// <param name="Checkpoint">The time for which a checkpoint stopped training.</param>
/// <param name="Other">Evaluation, reports, and what is not attributed.</param>
public sealed record StepParts(
    double Compute, double Communication, double Bubble, double Data, double Optimizer, double Checkpoint, double Other)
{
    /// <summary>Number of parts.</summary>
    public const int Count = 7;

    /// <summary>All of them.</summary>
    public double Total => Compute + Communication + Bubble + Data + Optimizer + Checkpoint + Other;

    /// <summary>Parts from values in the order of <see cref="StepPart"/>.</summary>
    /// <param name="values">Seconds, <see cref="Count"/> of them.</param>
    /// <param name="divisor">What each is divided by, such as the number of ranks in a sum.</param>
    public static StepParts Of(ReadOnlySpan<double> values, double divisor)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(values.Length, Count);
        return new(
            values[0] / divisor, values[1] / divisor, values[2] / divisor, values[3] / divisor, values[4] / divisor,
            values[5] / divisor, values[6] / divisor);
    }

    /// <summary>Each part with its name, in the order of <see cref="StepPart"/>.</summary>
    public IReadOnlyList<(StepPart Part, double Seconds)> All() =>
    [
        (StepPart.Compute, Compute), (StepPart.Communication, Communication), (StepPart.Bubble, Bubble), (StepPart.Data, Data),
        (StepPart.Optimizer, Optimizer), (StepPart.Checkpoint, Checkpoint), (StepPart.Other, Other),
    ];
}

/// <summary>What the ranks of an attempt have measured: means over its steps but the first, highest values for memory.</summary>
public sealed record RunMeasurement
{
    /// <summary>Steps that the means are over.</summary>
    public required int Steps { get; init; }

    /// <summary>Wall time of a step.</summary>
    public double StepSeconds { get; init; }

    /// <summary>Tokens of the global batch over the step's wall time.</summary>
    public double TokensPerSecond { get; init; }

    /// <summary>Model FLOPs over what the devices could have done.</summary>
    public double ModelFlopsUtilization { get; init; }

    /// <summary>FLOP/s of one device that the utilization is relative to.</summary>
    public double PeakFlops { get; init; }

    /// <summary>Precision of those products; null in older records.</summary>
    public Precision? Precision { get; init; }

    /// <summary>FLOP/s that one rank reached while the others waited: more than <see cref="PeakFlops"/> where devices share processors. 0 in older records.</summary>
    public double PeakFlopsAlone { get; init; }

    /// <summary>Where the time went, mean over ranks.</summary>
    public StepParts? Parts { get; init; }

    /// <summary>Bytes that the busiest rank sent in a step, by the volume that a ring needs.</summary>
    public long CommunicationBytesPerStep { get; init; }

    /// <summary>Live tensor bytes at their highest, by rank; 0 where they cannot be told.</summary>
    public IReadOnlyList<long> LiveTensorBytes { get; init; } = [];

    /// <summary>Resident bytes of the process at their highest, by rank.</summary>
    public IReadOnlyList<long> ResidentBytes { get; init; } = [];
}
