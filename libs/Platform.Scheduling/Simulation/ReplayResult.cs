using System.Text.Json.Nodes;

namespace Platform.Scheduling.Simulation;

/// <summary>Settings of a replay.</summary>
public sealed record ReplayOptions
{
    /// <summary>Settings of the cycle.</summary>
    public Cycle.CycleOptions Cycle { get; init; } = new();

    /// <summary>Seconds from being told to leave, or to change width, until the devices are free: a checkpoint and a stop.</summary>
    public double StopSeconds { get; init; } = 10;

    /// <summary>Seconds from getting devices until the work goes on.</summary>
    public double StartSeconds { get; init; } = 5;
}

/// <summary>Why a gang let go of its devices.</summary>
public enum SegmentEnd
{
    /// <summary>Its work was done.</summary>
    Finished,

    /// <summary>It made room for another.</summary>
    Preempted,

    /// <summary>It went on narrower.</summary>
    Narrowed,

    /// <summary>It went on wider.</summary>
    Widened,

    /// <summary>The replay ended.</summary>
    Cut,
}

/// <summary>A time in which a gang held devices.</summary>
/// <param name="Gang">The gang.</param>
/// <param name="Queue">Its queue.</param>
/// <param name="Placement">The devices.</param>
/// <param name="FromSeconds">From when.</param>
/// <param name="ToSeconds">Until when.</param>
/// <param name="End">Why it ended.</param>
public sealed record ReplaySegment(string Gang, string Queue, Cycle.GangPlacement Placement, double FromSeconds, double ToSeconds, SegmentEnd End);

/// <summary>A moment of a replay.</summary>
/// <param name="Seconds">When.</param>
/// <param name="HeldMilli">Thousandths of devices held from then on.</param>
/// <param name="Waiting">Gangs that wait from then on.</param>
/// <param name="FragmentMilli">Thousandths of free devices that a gang of the trace could not use, on average.</param>
public sealed record ReplayPoint(double Seconds, long HeldMilli, int Waiting, double FragmentMilli);

/// <summary>What a replay came to.</summary>
public sealed record ReplayResult
{
    /// <summary>Policy that chose places.</summary>
    public required string Policy { get; init; }

    /// <summary>Devices of the cluster.</summary>
    public required int Devices { get; init; }

    /// <summary>Times in which gangs held devices, in the order of their beginnings.</summary>
    public required IReadOnlyList<ReplaySegment> Segments { get; init; }

    /// <summary>Moments at which something changed.</summary>
    public required IReadOnlyList<ReplayPoint> Points { get; init; }

    /// <summary>Seconds from submission to the first devices, by gang, ascending.</summary>
    public required IReadOnlyList<double> Waits { get; init; }

    /// <summary>Gangs that ended.</summary>
    public required int Finished { get; init; }

    /// <summary>Gangs that the cluster could never hold.</summary>
    public required IReadOnlyList<string> Infeasible { get; init; }

    /// <summary>Gangs that waited to the end, as for quota that never came.</summary>
    public required IReadOnlyList<string> NeverStarted { get; init; }

    /// <summary>Scheduling cycles that ran.</summary>
    public required int Cycles { get; init; }

    /// <summary>When the last gang ended.</summary>
    public double EndSeconds => Points.Count == 0 ? 0 : Points[^1].Seconds;

    /// <summary>Share of the devices held, over the whole time.</summary>
    public double Utilization => Mean(point => point.HeldMilli) / (1000.0 * Math.Max(1, Devices));

    /// <summary>Share of all devices that is free but useless to a gang of the trace, on average over the whole time (Weng et al., 2023).</summary>
    public double Fragmentation => Mean(point => point.FragmentMilli) / (1000.0 * Math.Max(1, Devices));

    /// <summary>Times that gangs made room, whole.</summary>
    public int Preemptions => Segments.Count(segment => segment.End == SegmentEnd.Preempted);

    /// <summary>Times that gangs gave up width.</summary>
    public int Narrowings => Segments.Count(segment => segment.End == SegmentEnd.Narrowed);

    /// <summary>Times that gangs took idle devices.</summary>
    public int Widenings => Segments.Count(segment => segment.End == SegmentEnd.Widened);

    /// <summary>Wait that a share of the gangs did not exceed.</summary>
    public double WaitAt(double share) => Waits.Count == 0 ? 0 : Waits[Math.Clamp((int)Math.Ceiling(share * Waits.Count) - 1, 0, Waits.Count - 1)];

    /// <summary>The figures, with the names of the API.</summary>
    public JsonObject ToJson() => new()
    {
        ["policy"] = Policy,
        ["devices"] = Devices,
        ["gangs"] = Waits.Count + Infeasible.Count + NeverStarted.Count,
        ["finished"] = Finished,
        ["infeasible"] = new JsonArray([.. Infeasible.Select(gang => JsonValue.Create(gang))]),
        ["neverStarted"] = new JsonArray([.. NeverStarted.Select(gang => JsonValue.Create(gang))]),
        ["endSeconds"] = Math.Round(EndSeconds, 3),
        ["utilizationPercent"] = Math.Round(100 * Utilization, 4),
        ["fragmentationPercent"] = Math.Round(100 * Fragmentation, 4),
        ["waitSeconds"] = new JsonObject
        {
            ["mean"] = Math.Round(Waits.Count == 0 ? 0 : Waits.Average(), 3),
            ["p50"] = Math.Round(WaitAt(0.5), 3),
            ["p95"] = Math.Round(WaitAt(0.95), 3),
            ["max"] = Math.Round(WaitAt(1), 3),
        },
        ["preemptions"] = Preemptions,
        ["narrowings"] = Narrowings,
        ["widenings"] = Widenings,
        ["cycles"] = Cycles,
    };

    private double Mean(Func<ReplayPoint, double> value)
    {
        double sum = 0;
        for (int n = 0; n + 1 < Points.Count; n++)
        {
            sum += value(Points[n]) * (Points[n + 1].Seconds - Points[n].Seconds);
        }

        return EndSeconds <= 0 ? 0 : sum / EndSeconds;
    }
}
