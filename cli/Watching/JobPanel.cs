using System.Globalization;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Platform.Cli.Watching;

/// <summary>A job's progress as it is redrawn on a terminal.</summary>
internal static class JobPanel
{
    private const int BarWidth = 32;

    /// <summary>The picture of a job.</summary>
    /// <param name="job">The job; null before anything is known.</param>
    /// <param name="remark">A line below it; empty for none.</param>
    /// <param name="now">The time, for how long it has run.</param>
    public static IRenderable Of(Job? job, string remark, DateTimeOffset now)
    {
        if (job is null)
            return new Markup("[grey]waiting for the server[/]");
        var grid = new Grid().AddColumn(new GridColumn().NoWrap().PadRight(2)).AddColumn(new GridColumn().NoWrap());
        var attempt = job.Attempt > 1 ? $" [grey]attempt {job.Attempt}[/]" : "";
        grid.AddRow(new Markup($"[bold]{Markup.Escape(ResourceNames.Short(job.Name))}[/]"), new Markup($"[{Color(job.State)}]{Show.State(job.State)}[/]{attempt} [grey]{Show.RunTime(job, now)}[/]"));
        if (job.StateReason.Length > 0 && job.State != JobState.Running)
            grid.AddRow(new Text(""), new Markup($"[grey]{Markup.Escape(job.StateReason)}[/]"));
        if (job.Progress is { } progress)
            AddProgress(grid, progress);
        if (job.PastFailures.Count > 0)
            grid.AddRow(new Text("restarts"), new Markup($"[yellow]{Markup.Escape(JobLine.Of(job.PastFailures[^1]))}[/]"));
        if (remark.Length > 0)
            grid.AddRow(new Text(""), new Markup($"[yellow]{Markup.Escape(remark)}[/]"));
        return grid;
    }

    private static void AddProgress(Grid grid, TrainingProgress progress)
    {
        var (share, count) = progress.TotalSteps > 0 && progress.Step > 0
            ? (progress.Step / (double)progress.TotalSteps, $"{progress.Step}/{progress.TotalSteps}")
            : (progress.HasPhaseFraction ? progress.PhaseFraction : 0, "");
        var filled = (int)Math.Round(Math.Clamp(share, 0, 1) * BarWidth);
        var percent = string.Create(CultureInfo.InvariantCulture, $"{share * 100:0}%");
        grid.AddRow(
            new Text(progress.Phase.Length > 0 ? progress.Phase : "progress"),
            new Markup($"[green]{new string('━', filled)}[/][grey]{new string('━', BarWidth - filled)}[/] {percent} {count}"));
        if (progress.HasLoss)
        {
            var from = progress.HasFirstLoss ? $" [grey]from {Show.Loss(progress.FirstLoss)}[/]" : "";
            grid.AddRow(new Text("loss"), new Markup($"{Show.Loss(progress.Loss)}{from}"));
        }

        if (progress.HasTokensPerSecond)
            grid.AddRow("tokens/s", Show.Count(progress.TokensPerSecond));
        if (progress.Eta is { } eta)
            grid.AddRow("eta", Show.Span(eta.ToTimeSpan()));
    }

    private static string Color(JobState state) => state switch
    {
        JobState.Running or JobState.Succeeded => "green",
        JobState.Failed => "red",
        JobState.Cancelled or JobState.Stopping or JobState.Paused => "yellow",
        _ => "blue",
    };
}
