using System.Text.Json;

namespace Platform.Cli.Reports;

/// <summary>A complete event of a trace.</summary>
/// <param name="Rank">Rank.</param>
/// <param name="Lane">0 on the rank's own thread.</param>
/// <param name="Name">What was done.</param>
/// <param name="Part">What its time counts as: compute, communication, bubble, …</param>
/// <param name="Start">When it began, in microseconds.</param>
/// <param name="Duration">How long it took, in microseconds.</param>
/// <param name="Step">Step it belongs to.</param>
/// <param name="MicroBatch">Micro-batch it belongs to, if one.</param>
internal readonly record struct TraceEvent(int Rank, int Lane, string Name, string Part, double Start, double Duration, int Step, int? MicroBatch);

/// <summary>A document in the Chrome trace event format, as the server joins it.</summary>
internal static class TraceDocument
{
    /// <summary>Its complete events.</summary>
    /// <exception cref="CommandException">It is no such document.</exception>
    public static IReadOnlyList<TraceEvent> Read(ReadOnlyMemory<byte> json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return [.. document.RootElement.GetProperty("traceEvents").EnumerateArray().Where(each => each.GetProperty("ph").GetString() == "X").Select(Event)];
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new CommandException($"The server's timeline cannot be read: {error.Message}");
        }
    }

    private static TraceEvent Event(JsonElement json)
    {
        var facts = json.GetProperty("args");
        return new TraceEvent(
            json.GetProperty("pid").GetInt32(), json.GetProperty("tid").GetInt32(), json.GetProperty("name").GetString() ?? "",
            json.GetProperty("cat").GetString() ?? "", json.GetProperty("ts").GetDouble(), json.GetProperty("dur").GetDouble(),
            facts.GetProperty("step").GetInt32(), facts.TryGetProperty("micro_batch", out var number) ? number.GetInt32() : null);
    }
}
