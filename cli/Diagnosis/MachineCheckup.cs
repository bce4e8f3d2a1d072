using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Grpc.Core;
using Platform.Cli.Launching;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Diagnosis;

/// <summary>How a check ended.</summary>
internal enum Verdict
{
    /// <summary>As it should be.</summary>
    Good,

    /// <summary>Worth knowing; nothing fails because of it.</summary>
    Doubtful,

    /// <summary>Something will not work.</summary>
    Bad,
}

/// <summary>Result of one check.</summary>
internal sealed record Finding(string Check, Verdict Verdict, string Found);

/// <summary>Checks of this machine that need neither libtorch nor a running platform.</summary>
internal sealed class MachineCheckup(Terminal terminal, Session session)
{
    /// <summary>Shared memory below which gangs of several ranks on one node may not fit.</summary>
    private const long SmallSharedMemory = 256L << 20;

    private const string TorchLibrary = "libtorch_cpu.so";

    /// <summary>Runs every check.</summary>
    public async Task<IReadOnlyList<Finding>> RunAsync(CancellationToken cancellation)
    {
        var server = await CheckServerAsync(cancellation);
        var serverRuns = server.Verdict == Verdict.Good;
        return
        [
            new Finding("operating system", OperatingSystem.IsLinux() ? Verdict.Good : Verdict.Doubtful, RuntimeInformation.OSDescription),
            new Finding("processor", Verdict.Good, $"{Environment.ProcessorCount} cores, {RuntimeInformation.ProcessArchitecture}"),
            CheckMemory(),
            new Finding("runtime", Environment.Version.Major >= 10 ? Verdict.Good : Verdict.Bad, $".NET {Environment.Version}"),
            CheckSdk(),
            CheckStandalone(),
            CheckTorch(),
            CheckSharedMemory(),
            CheckPort("HTTP port", 8080, serverRuns),
            CheckPort("gRPC port", 8081, serverRuns),
            server,
        ];
    }

    private static Finding CheckMemory()
    {
        var bytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        return new Finding("memory", bytes >= 4L << 30 ? Verdict.Good : Verdict.Doubtful, Show.Bytes(bytes));
    }

    private static Finding CheckSdk()
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo("dotnet", "--list-sdks") { RedirectStandardOutput = true, RedirectStandardError = true });
            var versions = (process?.StandardOutput.ReadToEnd() ?? "").Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' ')[0]).ToList();
            return new Finding(
                "SDK", versions.Any(version => version.StartsWith("10.", StringComparison.Ordinal)) ? Verdict.Good : Verdict.Doubtful,
                versions.Count == 0 ? "no .NET SDK; needed only to build from source" : string.Join(", ", versions));
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return new Finding("SDK", Verdict.Doubtful, "'dotnet' is not on the PATH; needed only to build from source");
        }
    }

    private Finding CheckStandalone()
    {
        var places = LocalProgram.Standalone.Places(terminal.Variable, AppContext.BaseDirectory);
        return places.FirstOrDefault(File.Exists) is { } program
            ? new Finding("platform program", Verdict.Good, program)
            : new Finding("platform program", Verdict.Doubtful, $"not built; 'platform up' needs it ({places[0]})");
    }

    private Finding CheckTorch()
    {
        if (terminal.Variable("PLATFORM_LIBTORCH") is { Length: > 0 } named)
        {
            var library = Path.Combine(named, TorchLibrary);
            return File.Exists(library) ? new Finding("libtorch", Verdict.Good, library) : new Finding("libtorch", Verdict.Bad, $"PLATFORM_LIBTORCH names {named}, but {library} does not exist");
        }

        var beside = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "native", TorchLibrary));
        if (File.Exists(beside))
            return new Finding("libtorch", Verdict.Good, beside);
        var packages = terminal.Variable("NUGET_PACKAGES") is { Length: > 0 } configured
            ? configured
            : Path.Combine(terminal.Variable("HOME") ?? "/", ".nuget", "packages");
        var package = Path.Combine(packages, "libtorch-cpu-linux-x64");
        var found = Directory.Exists(package) ? Directory.EnumerateFiles(package, TorchLibrary, SearchOption.AllDirectories).FirstOrDefault() : null;
        return found is null
            ? new Finding("libtorch", Verdict.Bad, $"not found in {package}; run 'dotnet restore', or name its directory in PLATFORM_LIBTORCH")
            : new Finding("libtorch", Verdict.Good, found);
    }

    private static Finding CheckSharedMemory()
    {
        const string mount = "/dev/shm";
        if (!Directory.Exists(mount))
            return new Finding("shared memory", OperatingSystem.IsLinux() ? Verdict.Bad : Verdict.Doubtful, $"{mount} does not exist");
        var free = new DriveInfo(mount).AvailableFreeSpace;
        return new Finding(
            "shared memory", free >= SmallSharedMemory ? Verdict.Good : Verdict.Doubtful,
            free >= SmallSharedMemory ? $"{Show.Bytes(free)} free in {mount}" : $"only {Show.Bytes(free)} free in {mount}; containers: raise --shm-size");
    }

    private static Finding CheckPort(string check, int port, bool serverRuns)
    {
        try
        {
            using var listener = new TcpListener(IPAddress.Loopback, port) { ExclusiveAddressUse = true };
            listener.Start();
            return new Finding(check, Verdict.Good, $"{port} is free");
        }
        catch (SocketException)
        {
            return new Finding(
                check, serverRuns ? Verdict.Good : Verdict.Doubtful,
                serverRuns ? $"{port} is in use; the platform runs" : $"{port} is in use; choose another with 'platform up --{(port == 8080 ? "http" : "grpc")}-port N'");
        }
    }

    private async Task<Finding> CheckServerAsync(CancellationToken cancellation)
    {
        var address = session.Server.GetLeftPart(UriPartial.Authority);
        try
        {
            var nodes = await session.Cluster.ListNodesAsync(new ListNodesRequest(), session.Call(cancellation));
            return new Finding("server", Verdict.Good, $"{address} answers; {nodes.Nodes.Count} nodes");
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.Unavailable)
        {
            return new Finding("server", Verdict.Doubtful, $"{address} does not answer; start it with 'platform up'");
        }
        catch (RpcException error)
        {
            return new Finding("server", Verdict.Bad, string.Join(" ", ErrorText.Lines(error, session.Server)));
        }
    }
}
