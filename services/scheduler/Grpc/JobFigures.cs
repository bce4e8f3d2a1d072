using System.Text.Json.Nodes;
using Platform.Core.Gangs;
using Platform.Scheduler.Data;
using Platform.Scheduling.Gangs;
using Platform.V1;
using StepParts = Platform.Core.Gangs.StepParts;

namespace Platform.Scheduler.Grpc;

/// <summary>Predicted and measured figures of jobs, as messages of the API.</summary>
internal static class JobFigures
{
    /// <summary>Adds what is known of a run's layout and figures.</summary>
    public static void AddTo(Job job, JobRow row, GangState gang, ProgressRow? progress)
    {
        if (JsonNode.Parse(gang.Workload)?["parallelism"] is JsonObject layout)
        {
            job.Layout = JobMessages.Parse<ParallelismSpec>(layout.ToJsonString());
        }

        if (row.Predicted is { } predicted)
        {
            job.Predicted = JobMessages.Parse<RunFigures>(predicted);
        }

        if (progress?.Measured is { } measured)
        {
            job.Measured = Of(GangJson.Read<RunMeasurement>(measured));
        }
    }

    /// <summary>Adds where a step's time went.</summary>
    public static void AddTo(MetricPoint point, MetricPointRow row)
    {
        if (row.Parts is { } parts)
        {
            point.Parts = Of(GangJson.Read<StepParts>(parts));
        }

        if (row.Utilization is { } utilization)
        {
            point.ModelFlopsUtilization = utilization;
        }
    }

    /// <summary>Adds how long devices were held, and what that costs. It is no part of the job's etag: it grows by itself.</summary>
    public static void AddCost(
        Job job, GangState gang, IEnumerable<AttemptRow> attempts, IReadOnlyDictionary<string, double> prices, DateTimeOffset now)
    {
        double? today = prices.TryGetValue(gang.Shape.DeviceKind, out double price) ? price : null, cost = today is null ? null : 0;
        foreach (var attempt in attempts)
        {
            long milli = attempt.Resource is null ? (long)gang.Shape.DeviceSlots * gang.Shape.DeviceMilli : attempt.Milli;
            double hours = milli / 1000.0 * Math.Max(0, (attempt.EndedUnixMs ?? now.ToUnixTimeMilliseconds()) - attempt.PlacedUnixMs) / 3_600_000.0;
            job.DeviceHours += hours;
            cost = (attempt.PricePerHour ?? today) is { } hourly ? (cost ?? 0) + (hours * hourly) : cost;
        }

        if (cost is { } paid)
        {
            job.Cost = paid;
        }
    }

    private static RunFigures Of(RunMeasurement measured)
    {
        var figures = new RunFigures
        {
            BytesPerRank = measured.LiveTensorBytes.DefaultIfEmpty(0).Max(),
            CommunicationBytesPerStep = measured.CommunicationBytesPerStep,
            StepSeconds = measured.StepSeconds,
            TokensPerSecond = measured.TokensPerSecond,
            ModelFlopsUtilization = measured.ModelFlopsUtilization,
            PeakFlops = measured.PeakFlops,
            TotalSeconds = measured.StepSeconds * measured.Steps,
            Steps = measured.Steps,
        };
        figures.RankBytes.AddRange(measured.LiveTensorBytes);
        figures.ResidentBytes.AddRange(measured.ResidentBytes);
        if (measured.Parts is { Total: > 0 } parts)
        {
            figures.Parts = Of(parts);
            figures.BubbleFraction = parts.Bubble / parts.Total;
        }

        return figures;
    }

    private static Platform.V1.StepParts Of(StepParts parts) => new()
    {
        Compute = parts.Compute,
        Communication = parts.Communication,
        Bubble = parts.Bubble,
        Data = parts.Data,
        Optimizer = parts.Optimizer,
        Checkpoint = parts.Checkpoint,
        Other = parts.Other,
    };
}
