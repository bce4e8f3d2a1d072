using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using Platform.Core.Specs;
using Platform.V1;

namespace Platform.Cli.Output;

/// <summary>Values as people read them.</summary>
internal static class Show
{
    /// <summary>A state without its prefix: <c>running</c>.</summary>
    public static string State(JobState state) => Lower(state.ToString());

    /// <summary>A state without its prefix: <c>ready</c>.</summary>
    public static string State(DeploymentState state) => Lower(state.ToString());

    /// <summary>A state without its prefix: <c>draining</c>.</summary>
    public static string State(NodeState state) => Lower(state.ToString());

    /// <summary>A figure with four significant digits.</summary>
    public static string Number(double? number) =>
        number is { } value ? value.ToString("G4", CultureInfo.InvariantCulture) : "-";

    /// <summary>A loss with four decimals.</summary>
    public static string Loss(double? loss) =>
        loss is { } value ? value.ToString("0.0000", CultureInfo.InvariantCulture) : "-";

    /// <summary>A count with its magnitude: <c>12.3k</c>.</summary>
    public static string Count(double count) => Math.Abs(count) switch
    {
        >= 1e12 => Scaled(count / 1e12, "T"),
        >= 1e9 => Scaled(count / 1e9, "B"),
        >= 1e6 => Scaled(count / 1e6, "M"),
        >= 1e4 => Scaled(count / 1e3, "k"),
        _ => count.ToString("0", CultureInfo.InvariantCulture),
    };

    /// <summary>A price, in the currency of the configured prices.</summary>
    public static string Cost(double cost) => cost.ToString(cost >= 0.01 || cost == 0 ? "0.00" : "0.0e+0", CultureInfo.InvariantCulture);

    /// <summary>A size, rounded: <c>1.4 GiB</c>.</summary>
    public static string Bytes(long bytes) => bytes switch
    {
        >= 1L << 40 => Scaled(bytes / (double)(1L << 40), " TiB"),
        >= 1L << 30 => Scaled(bytes / (double)(1L << 30), " GiB"),
        >= 1L << 20 => Scaled(bytes / (double)(1L << 20), " MiB"),
        >= 1L << 10 => Scaled(bytes / (double)(1L << 10), " KiB"),
        >= 0 => ByteSize.Format(bytes),
        _ => "-",
    };

    /// <summary>A length of time: <c>1h02m</c>, <c>3m20s</c>, <c>4.2s</c>.</summary>
    public static string Span(TimeSpan span) => span switch
    {
        { TotalDays: >= 1 } => string.Create(CultureInfo.InvariantCulture, $"{(int)span.TotalDays}d{span.Hours:00}h"),
        { TotalHours: >= 1 } => string.Create(CultureInfo.InvariantCulture, $"{(int)span.TotalHours}h{span.Minutes:00}m"),
        { TotalMinutes: >= 1 } => string.Create(CultureInfo.InvariantCulture, $"{(int)span.TotalMinutes}m{span.Seconds:00}s"),
        { TotalSeconds: >= 10 } => string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds:0}s"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds:0.0}s"),
    };

    /// <summary>How long ago something was.</summary>
    public static string Age(Timestamp? time, DateTimeOffset now) =>
        time is null ? "-" : Span(now - time.ToDateTimeOffset() is { Ticks: > 0 } age ? age : TimeSpan.Zero);

    /// <summary>How long a job ran, or runs.</summary>
    public static string RunTime(Job job, DateTimeOffset now) =>
        job.StartTime is null
            ? "-"
            : Span((job.EndTime?.ToDateTimeOffset() ?? now) - job.StartTime.ToDateTimeOffset() is { Ticks: > 0 } span ? span : TimeSpan.Zero);

    /// <summary>Tensor × pipeline × data.</summary>
    public static string Layout(ParallelismSpec? layout) =>
        layout is null ? "-" : $"{Width(layout.HasTensor, layout.Tensor)}×{Width(layout.HasPipeline, layout.Pipeline)}×{Width(layout.HasData, layout.Data)}";

    private static int Width(bool given, int width) => given ? width : 1;

    private static string Scaled(double number, string unit) => number.ToString("0.0", CultureInfo.InvariantCulture) + unit;

    private static string Lower(string name) => name.ToLowerInvariant();
}
