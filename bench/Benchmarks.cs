namespace Platform.Benchmarks;

/// <summary>A named benchmark. It prints a table for people, then one name=value line per figure, and returns an exit code.</summary>
internal sealed record Benchmark(string Name, string Summary, Func<string[], int> Run);

/// <summary>Finds the benchmark that the first argument names and gives it the others.</summary>
internal static class Benchmarks
{
    public static int Run(string[] args, IReadOnlyList<Benchmark> all)
    {
        if (args.Length > 0 && all.FirstOrDefault(benchmark => benchmark.Name == args[0]) is { } chosen)
            return chosen.Run(args[1..]);
        Console.Error.WriteLine(args.Length == 0 ? "name a benchmark:" : $"there is no benchmark {args[0]}; there are:");
        foreach (var benchmark in all)
            Console.Error.WriteLine($"  {benchmark.Name,-16} {benchmark.Summary}");
        return 2;
    }
}
