using System.Globalization;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Simulation;

/// <summary>
/// A cluster and the tasks it was asked for, in the columns of the Alibaba GPU trace of 2023 (<c>openb</c>): nodes as
/// <c>sn,cpu_milli,memory_mib,gpu,model</c>, tasks as <c>name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,…</c>.
/// </summary>
/// <param name="Cluster">The nodes, empty.</param>
/// <param name="Tasks">The tasks in the order of the file.</param>
public sealed record ClusterTrace(ClusterSnapshot Cluster, IReadOnlyList<RankRequest> Tasks)
{
    private const long Mebibyte = 1L << 20;

    /// <summary>Reads the two files' lines.</summary>
    /// <exception cref="TraceFormatException">A column is missing or a value is no number.</exception>
    public static ClusterTrace Read(IEnumerable<string> nodes, IEnumerable<string> tasks) => new(
        ReadNodes(nodes),
        [.. Rows(tasks, "tasks", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec").Select(TaskOf)]);

    /// <summary>Reads the nodes; columns <c>zone</c>, <c>rack</c> and <c>block</c> are their topology where they are given.</summary>
    /// <exception cref="TraceFormatException">A column is missing or a value is no number.</exception>
    public static ClusterSnapshot ReadNodes(IEnumerable<string> nodes) =>
        new([.. Rows(nodes, "nodes", "sn", "cpu_milli", "memory_mib", "gpu", "model").Select(NodeOf)]);

    private static NodeSnapshot NodeOf(Row row) => new(
        row.Text("sn"), true, "", row.Topology(), row.Number("memory_mib") * Mebibyte, row.Number("memory_mib") * Mebibyte,
        [.. Enumerable.Range(0, (int)row.Number("gpu")).Select(index => new DeviceSnapshot(index, "cuda", 0, true, 1000) { Model = row.Text("model") })])
    {
        CpuMilli = row.Number("cpu_milli"),
        FreeCpuMilli = row.Number("cpu_milli"),
    };

    private static RankRequest TaskOf(Row row) => new()
    {
        DeviceKind = "cuda",
        Devices = (int)row.Number("num_gpu"),
        DeviceMilli = row.Number("num_gpu") == 0 ? 0 : (int)row.Number("gpu_milli"),
        Models = row.Text("gpu_spec"),
        CpuMilli = row.Number("cpu_milli"),
        MemoryBytes = row.Number("memory_mib") * Mebibyte,
    };

    private static IEnumerable<Row> Rows(IEnumerable<string> lines, string file, params string[] needed)
    {
        string[]? header = null;
        int number = 0;
        foreach (string line in lines)
        {
            number++;
            if (line.Length == 0)
            {
                continue;
            }

            string[] cells = line.Split(',');
            if (header is null)
            {
                header = cells;
                string[] missing = [.. needed.Except(header)];
                if (missing.Length > 0)
                {
                    throw new TraceFormatException($"The header of the {file} lacks {string.Join(", ", missing)}; found {line}.");
                }
            }
            else if (cells.Length < header.Length)
            {
                throw new TraceFormatException($"Line {number} of the {file} has {cells.Length} columns, the header {header.Length}.");
            }
            else
            {
                yield return new Row(header, cells, $"line {number} of the {file}");
            }
        }
    }

    private sealed record Row(string[] Header, string[] Cells, string Where)
    {
        private static readonly string[] Levels = ["zone", "rack", "block"];

        public Dictionary<string, string> Topology() => Levels.Where(level => Header.Contains(level)).ToDictionary(level => level, Text);

        public string Text(string column) => Cells[Array.IndexOf(Header, column)];

        public long Number(string column) => long.TryParse(Text(column), NumberStyles.None, CultureInfo.InvariantCulture, out long number)
            ? number
            : throw new TraceFormatException($"Expected a whole number as {column} in {Where}, found '{Text(column)}'.");
    }
}
