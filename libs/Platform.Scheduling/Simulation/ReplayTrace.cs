using System.Globalization;
using System.Text.Json;
using Platform.Core.Parallelism;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Simulation;

/// <summary>A gang of a trace.</summary>
/// <param name="Gang">Name, unique in the trace.</param>
/// <param name="Shape">What it needs.</param>
/// <param name="ArrivesSeconds">When it is submitted, from the beginning of the trace.</param>
/// <param name="RunsSeconds">How long it runs at its full width without a break.</param>
public sealed record TraceGang(string Gang, GangShape Shape, double ArrivesSeconds, double RunsSeconds)
{
    /// <summary>Tenant queue.</summary>
    public string Queue { get; init; } = "default";

    /// <summary>Higher goes first.</summary>
    public int Priority { get; init; } = 100;

    /// <summary>What its owner expects it to run; null when nobody said.</summary>
    public double? ExpectedSeconds { get; init; }
}

/// <summary>What came to a cluster, and when.</summary>
/// <param name="Cluster">The nodes, empty.</param>
/// <param name="Gangs">The gangs by their arrival.</param>
public sealed record ReplayTrace(ClusterSnapshot Cluster, IReadOnlyList<TraceGang> Gangs)
{
    /// <summary>Queues that were set up; others have no quota and weight 1.</summary>
    public IReadOnlyList<QueueSpec> Queues { get; init; } = [];

    /// <summary>
    /// Reads gangs: JSON lines (<c>{"gang":"a","submit_s":0,"duration_s":60,"tensor":2,"pipeline":1,"data":4,…}</c>), or the CSV of a
    /// public trace (<c>name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,…,creation_time,deletion_time,scheduled_time</c>),
    /// whose tasks run for what lies between being scheduled, or created, and deleted. Lines that begin with <c>#</c> are left out.
    /// </summary>
    /// <exception cref="TraceFormatException">A line cannot be read; the message names it.</exception>
    public static IReadOnlyList<TraceGang> ReadGangs(IEnumerable<string> lines)
    {
        List<string> all = [.. lines.Select(line => line.Trim()).Where(line => line.Length > 0 && line[0] != '#')];
        List<TraceGang> gangs = all.Count > 0 && all[0][0] == '{' ? [.. all.Select(FromJson)] : [.. FromCsv(all)];
        if (gangs.CountBy(gang => gang.Gang).FirstOrDefault(name => name.Value > 1).Key is { } twice)
        {
            throw new TraceFormatException($"Gang {twice} is in the trace more than once.");
        }

        double first = gangs.Count == 0 ? 0 : gangs.Min(gang => gang.ArrivesSeconds);
        return [.. gangs.Select(gang => gang with { ArrivesSeconds = gang.ArrivesSeconds - first }).OrderBy(gang => gang.ArrivesSeconds).ThenBy(gang => gang.Gang, StringComparer.Ordinal)];
    }

    /// <summary>Equal nodes: <c>4x8</c> is four nodes of eight devices, in blocks of eight nodes.</summary>
    /// <returns>Null when the text is no such thing.</returns>
    public static ClusterSnapshot? NodesOf(string text, string kind)
    {
        string[] parts = text.Split('x');
        if (parts.Length != 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int nodes) || nodes is < 1 or > 100_000
            || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int devices) || devices is < 1 or > 1024)
        {
            return null;
        }

        return new ClusterSnapshot([.. Enumerable.Range(0, nodes).Select(node => new NodeSnapshot(
            string.Create(CultureInfo.InvariantCulture, $"n{node:D4}"), true, "", new Dictionary<string, string> { ["block"] = string.Create(CultureInfo.InvariantCulture, $"b{node / 8}") },
            1L << 50, 1L << 50, [.. Enumerable.Range(0, devices).Select(index => new DeviceSnapshot(index, kind, 1L << 50, true, 1000))]))]);
    }

    private static TraceGang FromJson(string line, int index)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            var row = document.RootElement;
            int data = (int)Number(row, "data", 1), min = (int)Number(row, "min_data", data);
            return new TraceGang(
                row.TryGetProperty("gang", out var name) ? name.GetString() ?? "" : string.Create(CultureInfo.InvariantCulture, $"gang-{index + 1}"),
                new GangShape
                {
                    Mesh = new DeviceMesh((int)Number(row, "tensor", 1), (int)Number(row, "pipeline", 1), data),
                    NarrowerData = [.. Enumerable.Range(min, Math.Max(0, data - min)).Where(width => data % width == 0).OrderDescending()],
                    DeviceKind = Text(row, "device", "cuda"),
                    DevicesPerRank = (int)Number(row, "devices_per_rank", 1),
                    DeviceMilli = (int)Number(row, "device_milli", 1000),
                    TensorTopology = Text(row, "tensor_topology", "node"),
                },
                Number(row, "submit_s", 0), Number(row, "duration_s", null))
            {
                Queue = Text(row, "queue", "default"),
                Priority = (int)Number(row, "priority", 100),
                ExpectedSeconds = row.TryGetProperty("expected_runtime_s", out var expected) ? expected.GetDouble() : null,
            };
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException or KeyNotFoundException or ArgumentException)
        {
            throw new TraceFormatException($"Line {index + 1} of the trace is no gang: {error.Message}");
        }
    }

    private static double Number(JsonElement row, string name, double? otherwise) =>
        row.TryGetProperty(name, out var value) ? value.GetDouble() : otherwise ?? throw new KeyNotFoundException($"{name} is missing.");

    private static string Text(JsonElement row, string name, string otherwise) => row.TryGetProperty(name, out var value) ? value.GetString() ?? otherwise : otherwise;

    private static IEnumerable<TraceGang> FromCsv(List<string> lines)
    {
        if (lines.Count == 0)
        {
            yield break;
        }

        string[] header = lines[0].Split(',');
        foreach (string needed in new[] { "name", "num_gpu", "gpu_milli", "creation_time", "deletion_time" })
        {
            if (!header.Contains(needed))
            {
                throw new TraceFormatException($"The header of the trace lacks {needed}; found {lines[0]}.");
            }
        }

        foreach (var (line, number) in lines.Skip(1).Select((line, index) => (line.Split(','), index + 2)))
        {
            double created = Column(line, number, "creation_time") ?? throw new TraceFormatException($"Line {number} of the trace has no creation_time.");
            double? deleted = Column(line, number, "deletion_time");
            int devices = (int)(Column(line, number, "num_gpu") ?? 0);

            // What never ended, or needs no device, says nothing about how devices were shared.
            if (devices > 0 && deleted is { } end)
            {
                yield return new TraceGang(
                    line[Array.IndexOf(header, "name")],
                    new GangShape { Mesh = new DeviceMesh(1, 1, 1), DeviceKind = "cuda", DevicesPerRank = devices, DeviceMilli = (int)(Column(line, number, "gpu_milli") ?? 1000) },
                    created, Math.Max(1, end - Math.Max(created, Column(line, number, "scheduled_time") ?? created)));
            }
        }

        double? Column(string[] line, int number, string name)
        {
            int at = Array.IndexOf(header, name);
            return at < 0 || at >= line.Length || line[at].Length == 0 ? null
                : double.TryParse(line[at], NumberStyles.Float, CultureInfo.InvariantCulture, out double value) ? value
                : throw new TraceFormatException($"Expected a number as {name} in line {number} of the trace, found '{line[at]}'.");
        }
    }
}
