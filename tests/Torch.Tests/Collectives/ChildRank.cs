using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Platform.Torch.Collectives;

namespace Platform.Torch.Tests.Collectives;

/// <summary>
/// A rank that is a process of its own: this test program started again with a variable that makes it a rank. It prints its
/// port, reads "table token directory" and then plays its role until done.
/// </summary>
internal sealed class ChildRank : IDisposable
{
    private const string RoleVariable = "PLATFORM_TEST_RANK";

    private readonly Process process;

    private ChildRank(Process process) => this.process = process;

    /// <summary>Starts a world of processes and tells each of them about all; nodes by rank.</summary>
    public static ChildRank[] StartWorld(int size, string role, Func<int, string> node, string sharedMemory)
    {
        var ranks = Enumerable.Range(0, size).Select(rank => Start($"{role} {rank}")).ToArray();
        var table = string.Join(',', ranks.Select((child, rank) => $"{node(rank)}:{child.ReadLine()}"));
        var token = Guid.NewGuid().ToString("N");
        foreach (var child in ranks)
            child.process.StandardInput.WriteLine($"{table} {token} {sharedMemory}");
        return ranks;
    }

    public string ReadLine() => process.StandardOutput.ReadLine() ?? throw new IOException($"a rank ended: {process.StandardError.ReadToEnd()}");

    /// <summary>Everything printed until the process ends.</summary>
    public string ReadToEnd() => process.StandardOutput.ReadToEnd();

    /// <summary>kill -9.</summary>
    public void Kill() => process.Kill();

    public void Dispose()
    {
        if (!process.HasExited)
            process.Kill();
        process.WaitForExit();
        process.Dispose();
    }

    [ModuleInitializer]
    internal static void PlayRoleIfChild()
    {
        if (Environment.GetEnvironmentVariable(RoleVariable)?.Split(' ') is not [var role, var rank])
            return;
        try
        {
            Play(role, int.Parse(rank, CultureInfo.InvariantCulture));
            Environment.Exit(0);
        }
        catch (CollectiveException exception)
        {
            Console.WriteLine($"{exception.GetType().Name}: {exception.Message}");
            Environment.Exit(3);
        }
    }

    private static void Play(string role, int rank)
    {
        using var listener = HostCollectives.Listen(IPAddress.Loopback);
        Console.WriteLine(listener.Port);
        var words = (Console.ReadLine() ?? throw new IOException("no table came")).Split(' ');
        var table = words[0].Split(',').Select((entry, index) => entry.Split(':') is [var node, var port]
            ? new RankEndpoint(index, node, "127.0.0.1", int.Parse(port, CultureInfo.InvariantCulture))
            : throw new IOException($"not an endpoint: {entry}")).ToArray();
        using var world = HostCollectives.Connect(listener, rank, table, words[1], new CollectiveOptions
        {
            Timeout = TimeSpan.FromSeconds(60),
            SharedMemoryDirectory = words[2],
        });
        if (role == "digest")
            Console.WriteLine(Digest(world));
        else
            ReduceForever(world);
    }

    /// <summary>Runs a fixed program of operations in several groups; the hash of everything this rank got.</summary>
    public static string Digest(ICollectiveWorld world)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var all = world.CreateGroup("all", world.All());
        using var half = world.CreateGroup($"half {world.Rank % 2}", [.. world.All().Where(rank => rank % 2 == world.Rank % 2)]);
        foreach (var count in (long[])[1, 1000, 300_001])
        {
            foreach (var group in (ICollectiveGroup[])[all, half])
            {
                using var buffer = HostBuffer.Of(Cases.Inputs(world.Size, count, CollectiveElement.Float32)[world.Rank], CollectiveElement.Float32);
                group.AllReduce(buffer.Buffer, ReduceOperation.Average);
                hash.AppendData(buffer.ToBytes());
                var next = (group.Rank + 1) % group.Size;
                var previous = (group.Rank + group.Size - 1) % group.Size;
                using var received = new HostBuffer(count, CollectiveElement.Float32);
                group.SendReceive(buffer.Buffer, next, received.Buffer, previous);
                hash.AppendData(received.ToBytes());
            }
        }
        all.Barrier();
        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private static void ReduceForever(ICollectiveWorld world)
    {
        using var group = world.CreateGroup("data group 0", world.All());
        using var buffer = new HostBuffer(100_000, CollectiveElement.Float32);
        group.AllReduce(buffer.Buffer, ReduceOperation.Sum);
        Console.WriteLine("running");
        while (true)
            group.AllReduce(buffer.Buffer, ReduceOperation.Sum);
    }

    private static ChildRank Start(string role)
    {
        var program = Environment.ProcessPath ?? throw new InvalidOperationException("this process has no path");
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        if (Path.GetFileNameWithoutExtension(program) == "dotnet")
            start.ArgumentList.Add(typeof(ChildRank).Assembly.Location);
        start.Environment[RoleVariable] = role;
        return new ChildRank(Process.Start(start) ?? throw new InvalidOperationException($"cannot start {program}"));
    }
}
