using System.Globalization;

namespace Platform.Benchmarks.Collectives;

/// <summary>Latency and bandwidth of all-reduce among processes, the way training gangs on CPUs use it.</summary>
internal static class CollectivesBenchmark
{
    private const int Ranks = 8;
    private const int KiB = 1 << 10;
    private const int MiB = 1 << 20;

    public static int Run(string[] args)
    {
        switch (args)
        {
            case ["rank", var rank, var bytes, var repetitions]:
                return RankProcess.Run(Number(rank), Number(bytes), Number(repetitions));
            case ["copy", var bytes]:
                return LoopbackCopy.Run(Number(bytes));
            case []:
                break;
            default:
                Console.Error.WriteLine("collectives takes no arguments");
                return 2;
        }

        Console.WriteLine($"{Environment.ProcessorCount} processors, {Environment.OSVersion}, .NET {Environment.Version}");
        foreach (var (name, value) in Measure(scale: 1))
            Print(name, value);
        return 0;
    }

    /// <summary>All figures, with a row of the table for each measurement.</summary>
    /// <param name="scale">Repetitions are divided by this.</param>
    public static IReadOnlyList<(string Name, double Value)> Measure(int scale)
    {
        Console.WriteLine($"{"all-reduce",-36}{"bytes",12}{"ms",12}{"GB/s",10}");
        var small = Measure($"shared memory, {Ranks} processes", Ranks, oneNode: true, KiB, 2000 / scale);
        var large = Measure($"shared memory, {Ranks} processes", Ranks, oneNode: true, MiB, 200 / scale);
        Measure("shared memory, 2 processes", 2, oneNode: true, 16 * MiB, 30 / scale);
        Measure("TCP, 2 processes", 2, oneNode: false, KiB, 2000 / scale);
        var tcp = Measure("TCP, 2 processes", 2, oneNode: false, 16 * MiB, 30 / scale);
        // Each of the two ranks sends and receives as many bytes as the buffer has, so an all-reduce moves it twice.
        var same = Copy("loopback copy of the bytes moved", 32 * MiB, 30 / scale);
        var half = Copy("loopback copy of the buffer alone", 16 * MiB, 30 / scale);
        return
        [
            ("allreduce_1kib_ms", small), ("allreduce_1mib_ms", large), ("tcp_allreduce_16mib_ratio", same / tcp),
            ("tcp_allreduce_16mib_of_one_copy_ratio", half / tcp),
        ];
    }

    private static double Measure(string what, int ranks, bool oneNode, int bytes, int repetitions) =>
        Row(what, bytes, RankProcess.MeasureAllReduce(ranks, oneNode, bytes, repetitions));

    private static double Copy(string what, int bytes, int repetitions) => Row(what, bytes, LoopbackCopy.Measure(bytes, repetitions));

    private static double Row(string what, int bytes, double milliseconds)
    {
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what,-36}{bytes,12}{milliseconds,12:0.0000}{bytes / milliseconds / 1e6,10:0.00}"));
        return milliseconds;
    }

    public static void Print(string name, double value) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}={value:0.####}"));

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
