using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Watching;

/// <summary>How a job ended, for people.</summary>
internal static class JobSummary
{
    /// <summary>The lines to print.</summary>
    public static IEnumerable<string> Lines(Job job, DateTimeOffset now)
    {
        var id = ResourceNames.Short(job.Name);
        switch (job.State)
        {
            case JobState.Succeeded:
                yield return $"{id} succeeded in {Show.RunTime(job, now)}{Loss(job)}";
                if (job.Model.Length > 0)
                    yield return $"Model: {job.Model} (try: platform models get {ResourceNames.Short(job.Model)})";
                break;
            case JobState.Cancelled:
                yield return $"{id} was cancelled after {Show.RunTime(job, now)}.";
                break;
            default:
                foreach (var line in Failure(job, id))
                    yield return line;
                break;
        }
    }

    private static string Loss(Job job) => job.Progress switch
    {
        { HasFirstLoss: true, HasLoss: true } progress => $": loss {Show.Loss(progress.FirstLoss)} → {Show.Loss(progress.Loss)}",
        { HasLoss: true } progress => $": loss {Show.Loss(progress.Loss)}",
        _ => ".",
    };

    private static IEnumerable<string> Failure(Job job, string id)
    {
        var failure = job.Failure;
        yield return $"{id} failed: {(failure is { Message.Length: > 0 } ? failure.Message : job.StateReason)}";
        if (failure is null)
            yield break;
        var place = new List<string> { failure.Reason };
        if (failure.Attempt > 0)
            place.Add($"attempt {failure.Attempt}");
        if (failure.HasRank)
            place.Add($"rank {failure.Rank}");
        if (failure.Node.Length > 0)
            place.Add($"node {failure.Node}");
        yield return $"  {string.Join(", ", place)}";
        foreach (var line in failure.LogTail)
            yield return $"  | {line}";
        yield return $"  More: platform jobs logs {id}{(failure.HasRank ? $" --rank {failure.Rank}" : "")}";
    }
}
