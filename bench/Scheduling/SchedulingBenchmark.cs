using System.Globalization;

namespace Platform.Benchmarks.Scheduling;

/// <summary>How well and how fast gangs are placed.</summary>
internal static class SchedulingBenchmark
{
    public static int Run(string[] args)
    {
        SchedulingOptions options;
        try
        {
            options = SchedulingOptions.Parse(args);
        }
        catch (ArgumentException e)
        {
            Console.Error.WriteLine($"{e.Message}\nusage: {SchedulingOptions.Usage}");
            return 2;
        }

        Console.WriteLine($"{Environment.ProcessorCount} processors, {Environment.OSVersion}, .NET {Environment.Version}");
        var figures = new List<(string Name, double Value)>();
        if (options.Parts.Contains("packing"))
            Packing(options, figures);
        if (options.Parts.Contains("decisions"))
            figures.AddRange(DecisionBenchmark.Run(options.Quick));
        if (options.Parts.Contains("durable"))
            figures.AddRange(DurableBenchmark.RunAsync(options.Quick).GetAwaiter().GetResult());
        if (options.Parts.Contains("kueue"))
            figures.AddRange(KueueBaseline.RunAsync(options.Quick).GetAwaiter().GetResult());
        foreach (var (name, value) in figures)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}={value:0.####}"));
        return 0;
    }

    private static void Packing(SchedulingOptions options, List<(string Name, double Value)> figures)
    {
        if (options.Openb is { } directory && File.Exists(Path.Combine(directory, "openb_node_list_gpu_node.csv")))
            figures.AddRange(PackingBenchmark.Run(directory));
        else
            Console.WriteLine("The openb trace is not here, so packing is not measured; name its directory: make bench-sched OPENB=DIR.");
    }
}
