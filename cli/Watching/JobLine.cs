using System.Globalization;
using Platform.Cli.Output;
using Platform.V1;

namespace Platform.Cli.Watching;

/// <summary>A job's progress as one line, and when a new line is worth printing.</summary>
internal static class JobLine
{
    /// <summary>Lines of the training phase in a whole run, apart from the first and the last step.</summary>
    private const int LinesPerRun = 20;

    /// <summary>Whether the job has moved on enough since the last printed version.</summary>
    /// <param name="printed">The last version printed; null when none was.</param>
    /// <param name="job">The job now.</param>
    public static bool IsNews(Job? printed, Job job)
    {
        if (printed is null || printed.State != job.State || printed.Attempt != job.Attempt
            || printed.StateReason != job.StateReason || printed.PastFailures.Count != job.PastFailures.Count)
        {
            return true;
        }

        var (before, now) = (printed.Progress, job.Progress);
        if (now is null)
            return false;
        if (before is null || before.Phase != now.Phase)
            return true;
        if (now.TotalSteps > 0 && (now.Step != before.Step))
            return now.Step < before.Step || now.Step == now.TotalSteps || before.Step == 0 || Mark(now.Step, now) > Mark(before.Step, now);
        return now.HasPhaseFraction && (int)(now.PhaseFraction * 4) > (int)(before.PhaseFraction * 4);
    }

    /// <summary>The line.</summary>
    public static string Of(Job job)
    {
        var parts = new List<string> { Show.State(job.State) };
        if (job.Attempt > 1)
            parts.Add($"attempt {job.Attempt}");
        if (job.State is JobState.Running or JobState.Stopping && job.Progress is { } progress)
            parts.AddRange(Parts(progress));
        else if (job.StateReason.Length > 0)
            parts.Add(job.StateReason);
        return string.Join("  ", parts);
    }

    /// <summary>A line about a failure that was retried.</summary>
    public static string Of(Failure failure)
    {
        var place = failure.HasRank ? $" (rank {failure.Rank}{(failure.Node.Length > 0 ? $" on {failure.Node}" : "")})" : "";
        return $"attempt {failure.Attempt} failed: {failure.Message}{place} [{failure.Reason}]";
    }

    private static IEnumerable<string> Parts(TrainingProgress progress)
    {
        if (progress.Phase.Length > 0 && progress.Phase != "training")
        {
            yield return progress.HasPhaseFraction
                ? string.Create(CultureInfo.InvariantCulture, $"{progress.Phase} {progress.PhaseFraction * 100:0}%")
                : progress.Phase;
        }

        if (progress.TotalSteps > 0)
            yield return $"step {progress.Step}/{progress.TotalSteps}";
        if (progress.HasLoss)
            yield return $"loss {Show.Loss(progress.Loss)}";
        if (progress.HasTokensPerSecond)
            yield return $"{Show.Count(progress.TokensPerSecond)} tokens/s";
        if (progress.Eta is { } eta)
            yield return $"eta {Show.Span(eta.ToTimeSpan())}";
    }

    private static int Mark(int step, TrainingProgress progress) => (int)((long)step * LinesPerRun / progress.TotalSteps);
}
