using Platform.Scheduling.Simulation;

namespace Platform.Scheduling.Tests.Simulation;

/// <summary>The public GPU-cluster trace <c>openb</c>, which is not part of the repository.</summary>
internal static class OpenTrace
{
    public const string Absent =
        "The openb trace is not on this machine: name its directory in PLATFORM_OPENB (alibaba/clusterdata, cluster-trace-gpu-v2023/csv).";

    /// <summary>Its directory: that of the environment, or shared/data/openb beside or above the program; null when there is none.</summary>
    public static string? Directory { get; } =
        Candidates().FirstOrDefault(path => File.Exists(Path.Combine(path, "openb_node_list_gpu_node.csv")));

    public static ClusterTrace Read(string directory, string list) => ClusterTrace.Read(
        File.ReadLines(Path.Combine(directory, "openb_node_list_gpu_node.csv")), File.ReadLines(Path.Combine(directory, $"openb_pod_list_{list}.csv")));

    private static IEnumerable<string> Candidates()
    {
        if (Environment.GetEnvironmentVariable("PLATFORM_OPENB") is { Length: > 0 } named)
        {
            yield return named;
        }

        for (var above = new DirectoryInfo(AppContext.BaseDirectory); above is not null; above = above.Parent)
        {
            yield return Path.Combine(above.FullName, "shared", "data", "openb");
        }
    }
}
