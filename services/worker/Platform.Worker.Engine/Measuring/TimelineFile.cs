using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Platform.Core.Parallelism;
using Platform.Torch.Timelines;

namespace Platform.Worker.Engine.Measuring;

/// <summary>
/// A rank's timeline in the Chrome trace event format, one event per line: complete events (<c>ph: X</c>) whose process is
/// the rank and whose thread is the lane. Times are microseconds since 1970 by the node's clock.
/// </summary>
public static class TimelineFile
{
    /// <summary>Replaces a file by the events.</summary>
    /// <param name="path">The file; its directory is made.</param>
    /// <param name="rank">The rank.</param>
    /// <param name="at">Its place in the mesh.</param>
    /// <param name="node">Its node.</param>
    /// <param name="events">What it did.</param>
    public static void Write(string path, int rank, MeshCoordinate at, string node, IReadOnlyList<TimelineEvent> events)
    {
        ArgumentNullException.ThrowIfNull(events);
        Directory.CreateDirectory(Path.GetDirectoryName(path) ?? ".");
        var (ticks, utc) = (Stopwatch.GetTimestamp(), (DateTime.UtcNow - DateTime.UnixEpoch).TotalMicroseconds);
        var temporary = path + ".new";
        using (var file = new StreamWriter(temporary, append: false, new UTF8Encoding(false)))
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"rank {rank} (tp {at.Tensor}, pp {at.Pipeline}, dp {at.Data}) on {node}");
            Line(file, json => Metadata(json, "process_name", rank, 0, name));
            foreach (var lane in events.Select(each => each.Lane).Append(0).Distinct().Order())
                Line(file, json => Metadata(json, "thread_name", rank, lane, lane == 0 ? "training" : $"background {lane}"));
            foreach (var each in events)
                Line(file, json => Complete(json, rank, each, utc + (((each.Start - ticks) / (double)Stopwatch.Frequency) * 1e6)));
        }

        File.Move(temporary, path, overwrite: true);
    }

    private static void Line(StreamWriter file, Action<Utf8JsonWriter> write)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        file.Write(Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length));
        file.Write('\n');
    }

    private static void Metadata(Utf8JsonWriter json, string kind, int rank, int lane, string name)
    {
        json.WriteString("name", kind);
        json.WriteString("ph", "M");
        json.WriteNumber("pid", rank);
        json.WriteNumber("tid", lane);
        json.WriteStartObject("args");
        json.WriteString("name", name);
        json.WriteEndObject();
    }

    private static void Complete(Utf8JsonWriter json, int rank, TimelineEvent each, double start)
    {
        json.WriteString("name", each.Name);
        json.WriteString("cat", each.Part.ToString().ToLowerInvariant());
        json.WriteString("ph", "X");
        json.WriteNumber("ts", Math.Round(start, 1));
        json.WriteNumber("dur", Math.Round(each.Duration / (double)Stopwatch.Frequency * 1e6, 1));
        json.WriteNumber("pid", rank);
        json.WriteNumber("tid", each.Lane);
        json.WriteStartObject("args");
        json.WriteNumber("step", each.Step);
        if (each.MicroBatch is { } microBatch)
            json.WriteNumber("micro_batch", microBatch);
        if (each.Bytes > 0)
            json.WriteNumber("bytes", each.Bytes);
        json.WriteEndObject();
    }
}
