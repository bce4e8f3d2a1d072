using System.Globalization;
using Platform.Core.Cluster;

namespace Platform.Worker.Agent.Core;

/// <summary>
/// Reads what <c>nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader,nounits</c> prints: a line per GPU,
/// memory in MiB. Asking the program keeps CUDA itself, and its memory, out of the agent.
/// </summary>
public static class GpuList
{
    /// <summary>Arguments of the program.</summary>
    public static IReadOnlyList<string> Arguments { get; } = ["--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"];

    /// <summary>Reads the GPUs of a node.</summary>
    /// <param name="output">What the program printed.</param>
    /// <returns>Devices by index, of kind <c>cuda</c>.</returns>
    /// <exception cref="FormatException">A line is not of that form; the message shows it.</exception>
    public static IReadOnlyList<DeviceInfo> Read(string output) =>
    [
        .. output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Select(Line).OrderBy(device => device.Index),
    ];

    private static DeviceInfo Line(string line)
    {
        string[] fields = line.Split(',', StringSplitOptions.TrimEntries);
        return fields.Length >= 3
            && int.TryParse(fields[0], NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            && long.TryParse(fields[^1], NumberStyles.None, CultureInfo.InvariantCulture, out long mebibytes)
            ? new DeviceInfo(index, "cuda", mebibytes << 20)
            : throw new FormatException($"Expected index, name and memory in MiB of a GPU, found '{line}'.");
    }
}
