using System.Diagnostics;
using System.Globalization;
using System.Net;
using Platform.Torch.Collectives;

namespace Platform.Benchmarks.Collectives;

/// <summary>
/// One rank of a measured world as a process of its own. It prints its port, reads the table of all, and rank 0 prints the
/// milliseconds that an operation took.
/// </summary>
internal sealed class RankProcess : IDisposable
{
    private readonly Process process;

    private RankProcess(Process process) => this.process = process;

    /// <summary>Runs a world of processes, one node or one node per rank, and returns the milliseconds per all-reduce of so many bytes.</summary>
    public static double MeasureAllReduce(int ranks, bool oneNode, int bytes, int repetitions)
    {
        var processes = Enumerable.Range(0, ranks).Select(rank => Start($"collectives rank {rank} {bytes} {repetitions}")).ToArray();
        try
        {
            Introduce(processes, oneNode);
            return double.Parse(processes[0].ReadLine(), CultureInfo.InvariantCulture);
        }
        finally
        {
            foreach (var process in processes)
                process.Dispose();
        }
    }

    /// <summary>The child's side of <see cref="MeasureAllReduce"/>.</summary>
    public static unsafe int Run(int rank, int bytes, int repetitions)
    {
        using var world = Join(rank);
        using var group = world.CreateGroup("measured group", [.. Enumerable.Range(0, world.Size)]);
        var values = GC.AllocateArray<float>(bytes / sizeof(float), pinned: true);
        fixed (float* first = values)
        {
            var buffer = new CollectiveBuffer((nint)first, values.Length, CollectiveElement.Float32);
            var best = double.PositiveInfinity;
            for (var round = 0; round < 4; round++)
            {
                for (var i = 0; i < repetitions / 4; i++)
                    group.AllReduce(buffer, ReduceOperation.Max);
                group.Barrier();
                var start = Stopwatch.GetTimestamp();
                for (var i = 0; i < repetitions; i++)
                    group.AllReduce(buffer, ReduceOperation.Sum);
                best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalMilliseconds / repetitions);
            }
            group.Barrier();
            if (rank == 0)
                Console.WriteLine(best.ToString("R", CultureInfo.InvariantCulture));
        }
        return 0;
    }

    /// <summary>Reads the port of each rank and tells all of them the table of the world.</summary>
    public static void Introduce(IReadOnlyList<RankProcess> processes, bool oneNode)
    {
        var ports = processes.Select(process => process.ReadLine()).ToArray();
        var table = string.Join(',', ports.Select((port, rank) => $"{(oneNode ? "node" : $"node-{rank}")}:{port}"));
        var token = Guid.NewGuid().ToString("N");
        foreach (var process in processes)
            process.WriteLine($"{table} {token}");
    }

    /// <summary>The child's side of <see cref="Introduce"/>: its port out, the table in.</summary>
    public static ICollectiveWorld Join(int rank)
    {
        var listener = HostCollectives.Listen(IPAddress.Loopback);
        Console.WriteLine(listener.Port);
        var words = (Console.ReadLine() ?? throw new IOException("no table came")).Split(' ');
        var table = words[0].Split(',').Select((entry, index) => entry.Split(':') is [var node, var port]
            ? new RankEndpoint(index, node, "127.0.0.1", int.Parse(port, CultureInfo.InvariantCulture))
            : throw new IOException($"not an endpoint: {entry}")).ToArray();
        return HostCollectives.Connect(listener, rank, table, words[1], null);
    }

    /// <summary>Starts this program again with a role in a benchmark, whose name comes first.</summary>
    public static RankProcess Start(string role)
    {
        var program = Environment.ProcessPath ?? throw new InvalidOperationException("this process has no path");
        return new RankProcess(Process.Start(new ProcessStartInfo(program, role)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        }) ?? throw new InvalidOperationException($"cannot start {program}"));
    }

    public string ReadLine() => process.StandardOutput.ReadLine() ?? throw new IOException("a rank ended without a result");

    public void WriteLine(string line)
    {
        process.StandardInput.WriteLine(line);
        process.StandardInput.Flush();
    }

    public void Dispose()
    {
        if (!process.WaitForExit(TimeSpan.FromSeconds(10)))
            process.Kill();
        process.Dispose();
    }
}
