using System.Globalization;

namespace Platform.Benchmarks.Scheduling;

/// <summary>How well and how fast gangs are placed.</summary>
internal static class SchedulingBenchmark
{
    public static int Run(string[] args)
    {
        if (args.Length > 1)
        {
            Console.Error.WriteLine("scheduling takes at most one argument: the directory of the openb trace");
            return 2;
        }

        Console.WriteLine($"{Environment.ProcessorCount} processors, {Environment.OSVersion}, .NET {Environment.Version}");
        var figures = new List<(string Name, double Value)>();
        if (args is [var directory] && File.Exists(Path.Combine(directory, "openb_node_list_gpu_node.csv")))
            figures.AddRange(PackingBenchmark.Run(directory));
        else
            Console.WriteLine("The openb trace is not here, so packing is not measured; name its directory: make bench-sched OPENB=DIR.");
        foreach (var (name, value) in figures)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}={value:0.####}"));
        return 0;
    }
}
