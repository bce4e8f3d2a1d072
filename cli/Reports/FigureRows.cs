using System.Globalization;
using Platform.Cli.Output;
using Platform.V1;

namespace Platform.Cli.Reports;

/// <summary>A figure, as predicted and as measured; 0 where it is not known.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Predicted">Before the run.</param>
/// <param name="Measured">In the run.</param>
/// <param name="Show">How it is written.</param>
internal sealed record FigureRow(string Name, double Predicted, double Measured, Func<double, string> Show);

/// <summary>The figures of a job side by side.</summary>
internal static class FigureRows
{
    /// <summary>All of them that are known in one way at least.</summary>
    public static IEnumerable<FigureRow> Of(Job job)
    {
        var (predicted, measured) = (job.Predicted ?? new RunFigures(), job.Measured ?? new RunFigures());
        var (foreseen, spent) = (predicted.Parts ?? new StepParts(), measured.Parts ?? new StepParts());
        FigureRow[] rows =
        [
            new("memory of the fullest rank", predicted.BytesPerRank, measured.BytesPerRank, Bytes),
            new("time per step", predicted.StepSeconds, measured.StepSeconds, Svg.Seconds),
            new("  compute", foreseen.Compute, spent.Compute, Svg.Seconds),
            new("  exposed communication", foreseen.Communication, spent.Communication, Svg.Seconds),
            new("  bubble", foreseen.Bubble, spent.Bubble, Svg.Seconds),
            new("  data", foreseen.Data, spent.Data, Svg.Seconds),
            new("  optimizer", foreseen.Optimizer, spent.Optimizer, Svg.Seconds),
            new("  checkpoint", foreseen.Checkpoint, spent.Checkpoint, Svg.Seconds),
            new("tokens per second", predicted.TokensPerSecond, measured.TokensPerSecond, Show.Count),
            new("MFU", predicted.ModelFlopsUtilization, measured.ModelFlopsUtilization, Percent),
            new("peak of a device, FLOP/s", predicted.PeakFlops, measured.PeakFlops, Show.Count),
            new("bubble, share of a step", predicted.BubbleFraction, measured.BubbleFraction, Percent),
            new("communication per step", predicted.CommunicationBytesPerStep, measured.CommunicationBytesPerStep, Bytes),
            new("cost", predicted.HasCost ? predicted.Cost : 0, job.HasCost ? job.Cost : 0, Show.Cost),
        ];
        return rows.Where(row => row.Predicted > 0 || row.Measured > 0);
    }

    private static string Bytes(double bytes) => Show.Bytes((long)bytes);

    private static string Percent(double share) => (share * 100).ToString("0.0", CultureInfo.InvariantCulture) + " %";
}
