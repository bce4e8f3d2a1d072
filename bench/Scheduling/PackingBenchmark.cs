using System.Diagnostics;
using System.Globalization;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Simulation;

namespace Platform.Benchmarks.Scheduling;

/// <summary>How full each policy gets the cluster of the public trace; see <see cref="PackingExperiment"/>.</summary>
internal static class PackingBenchmark
{
    private const int Seeds = 10;
    private const int FirstSeed = 42;

    private static readonly Dictionary<(string List, string Policy), double> Published = new()
    {
        [("default", PlacementPolicies.Random)] = 87.47,
        [("default", PlacementPolicies.BestFit)] = 93.08,
        [("default", PlacementPolicies.Fgd)] = 95.39,
        [("gpushare100", PlacementPolicies.Random)] = 79.44,
        [("gpushare100", PlacementPolicies.BestFit)] = 85.01,
        [("gpushare100", PlacementPolicies.Fgd)] = 86.90,
    };

    /// <summary>Runs it on the trace in a directory and prints a row for each list and policy.</summary>
    public static IReadOnlyList<(string Name, double Value)> Run(string directory)
    {
        var figures = new List<(string Name, double Value)>();
        Console.WriteLine($"{"list",-14}{"policy",-12}{"allocated %",12}{"published",12}{"s",8}");
        foreach (string list in new[] { "default", "gpushare100" })
        {
            var trace = ClusterTrace.Read(
                File.ReadLines(Path.Combine(directory, "openb_node_list_gpu_node.csv")), File.ReadLines(Path.Combine(directory, $"openb_pod_list_{list}.csv")));
            foreach (string policy in PlacementPolicies.Names.Reverse())
            {
                var watch = Stopwatch.StartNew();
                double mean = Enumerable.Range(FirstSeed, Seeds).AsParallel().Average(seed => PackingExperiment.Run(trace, policy, 1.3, seed).AllocatedPercent);
                string known = Published.TryGetValue((list, policy), out double published) ? published.ToString("0.00", CultureInfo.InvariantCulture) : "-";
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{list,-14}{policy,-12}{mean,12:0.00}{known,12}{watch.Elapsed.TotalSeconds,8:0.0}"));
                figures.Add(($"openb_{list}_{policy.Replace('-', '_')}_percent", mean));
            }
        }

        return figures;
    }
}
