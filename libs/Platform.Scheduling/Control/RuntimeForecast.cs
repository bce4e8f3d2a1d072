using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Gangs;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Control;

/// <summary>
/// How long gangs run. What their owner declared stands; else what their own steps took, else what gangs of the same work took
/// that have ended, else what the planner predicted. Runtimes of gangs that wait are taken a little longer than that, so that one
/// which starts before another rarely overruns. Nothing here is stored: a new leader hears progress anew within seconds, and learns
/// from what ends under it. One owner, no sharing.
/// </summary>
public sealed class RuntimeForecast
{
    private const int Kept = 20;
    private const double Newest = 0.2;
    private const double SeenMargin = 1.2;
    private const double PlannedMargin = 1.5;
    private readonly Dictionary<string, Progress> progress = [];
    private readonly Dictionary<string, Queue<double>> seen = [];
    private readonly Dictionary<string, Work> works = [];

    /// <summary>A gang that trains has taken a step.</summary>
    /// <param name="gang">The gang.</param>
    /// <param name="attempt">Its attempt; at another width steps take another time.</param>
    /// <param name="step">Steps done.</param>
    /// <param name="stepSeconds">Time of one.</param>
    /// <param name="now">The time.</param>
    public void Note(string gang, int attempt, int step, double stepSeconds, DateTimeOffset now)
    {
        if (!(stepSeconds > 0) || !double.IsFinite(stepSeconds))
        {
            return;
        }

        double smoothed = progress.TryGetValue(gang, out var before) && before.Attempt == attempt ? ((1 - Newest) * before.StepSeconds) + (Newest * stepSeconds) : stepSeconds;
        progress[gang] = new Progress(attempt, step, smoothed, now);
    }

    /// <summary>A gang came to its end; of one that succeeded, how long it took is remembered for others of the same work.</summary>
    public void Ended(GangState gang)
    {
        ArgumentNullException.ThrowIfNull(gang);
        if (gang is { Stage: GangStage.Succeeded, Kind: not WorkloadKind.Serving } && WorkOf(gang) is { } work)
        {
            double? took = work.Steps is null
                ? gang.EndedAt - (gang.Attempt?.RunningAt ?? gang.EndedAt) is { } time && time > TimeSpan.Zero ? time.TotalSeconds : null
                : progress.GetValueOrDefault(gang.Gang)?.StepSeconds;
            if (took is { } seconds)
            {
                var others = seen.TryGetValue(work.Signature, out var known) ? known : seen[work.Signature] = new Queue<double>();
                others.Enqueue(seconds);
                while (others.Count > Kept)
                {
                    others.Dequeue();
                }
            }
        }

        progress.Remove(gang.Gang);
        works.Remove(gang.Gang);
    }

    /// <summary>How long a gang will run when it starts; null when nothing tells.</summary>
    public TimeSpan? RuntimeOf(GangState gang)
    {
        ArgumentNullException.ThrowIfNull(gang);
        if (gang.ExpectedRuntime is not null || gang.Kind == WorkloadKind.Serving)
        {
            return gang.ExpectedRuntime;
        }

        // Nothing can be known, so nothing has to be read.
        if (gang.PredictedRuntime is null && seen.Count == 0 && !progress.ContainsKey(gang.Gang))
        {
            return null;
        }

        if (WorkOf(gang) is not { } work)
        {
            return null;
        }

        double? each = progress.GetValueOrDefault(gang.Gang)?.StepSeconds ?? (seen.TryGetValue(work.Signature, out var others) ? Median(others) : null);
        if (work.Steps is not { } steps)
        {
            return Seconds(each * SeenMargin);
        }

        int left = Math.Max(0, steps - (gang.LatestCheckpoint?.Step ?? 0));
        return Seconds(each is { } known ? known * left * SeenMargin : gang.PredictedRuntime?.TotalSeconds * left / Math.Max(1, steps) * PlannedMargin);
    }

    /// <summary>When a gang that holds devices will be over; null when nothing tells.</summary>
    public DateTimeOffset? EndOf(GangState gang)
    {
        ArgumentNullException.ThrowIfNull(gang);
        if (gang.Attempt is not { } attempt || gang.Kind == WorkloadKind.Serving)
        {
            return null;
        }

        if (gang.ExpectedRuntime is null && progress.GetValueOrDefault(gang.Gang) is { } at && at.Attempt == attempt.Number && WorkOf(gang) is { Steps: { } steps })
        {
            return at.Time + Seconds(Math.Max(0, steps - at.Step) * at.StepSeconds);
        }

        return (attempt.RunningAt ?? attempt.PlacedAt) + RuntimeOf(gang);
    }

    private Work? WorkOf(GangState gang)
    {
        if (works.TryGetValue(gang.Gang, out var known) && ReferenceEquals(known.Json, gang.Workload) && ReferenceEquals(known.Shape, gang.Shape))
        {
            return known;
        }

        try
        {
            return JsonNode.Parse(gang.Workload) is JsonObject job ? works[gang.Gang] = Read(gang, job) : null;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    /// <summary>Gangs of the same signature take the same time for a step, or for the whole of a program.</summary>
    private static Work Read(GangState gang, JsonObject job)
    {
        string place = $"{gang.Shape.DeviceKind} {gang.Shape.DeviceMilli} {gang.Shape.Mesh.Tensor}x{gang.Shape.Mesh.Pipeline}x{gang.Shape.Mesh.Data}";
        return gang.Kind == WorkloadKind.Training
            ? new Work(
                gang.Workload, gang.Shape, $"{place} {job["model"]?.ToJsonString()} {job["lora"]?.ToJsonString()} {job["parallelism"]?.ToJsonString()} {job["training"]?["global_batch_size"]} {job["training"]?["precision"]} {job["data"]?["sequence_length"]}",
                job["training"]?["steps"]?.GetValue<int>())
            : new Work(gang.Workload, gang.Shape, $"{place} {job["command"]?.ToJsonString()}", null);
    }

    private static double Median(Queue<double> values)
    {
        double[] ordered = [.. values.Order()];
        return ordered[ordered.Length / 2];
    }

    private static TimeSpan? Seconds(double? seconds) => seconds is { } known and < 1e9 and >= 0 ? TimeSpan.FromSeconds(known) : null;

    /// <summary>Whether a gang has saved its last step: what is left is to export the model, which nobody gains by interrupting.</summary>
    public bool IsExporting(GangState gang) =>
        gang.LatestCheckpoint is { } saved && WorkOf(gang) is { Steps: { } steps } && saved.Step >= steps;

    private sealed record Progress(int Attempt, int Step, double StepSeconds, DateTimeOffset Time);

    private sealed record Work(string Json, Cycle.GangShape Shape, string Signature, int? Steps);
}
