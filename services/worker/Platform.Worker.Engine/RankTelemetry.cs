using System.Diagnostics;

namespace Platform.Worker.Engine;

/// <summary>Spans of a rank process.</summary>
internal static class RankTelemetry
{
    /// <summary>run, prepare-data, resume, checkpoint, export.</summary>
    public static ActivitySource Source { get; } = new("Platform.Worker.Rank");
}
