using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Platform.Benchmarks.Scheduling.Service;

/// <summary>A PostgreSQL server of its own with the settings it comes with, in a temporary directory, on a free loopback port.</summary>
internal sealed class PostgreSql : IDisposable
{
    private const string Account = "postgres";
    private readonly string directory = Directory.CreateTempSubdirectory("postgresql-bench-").FullName;
    private readonly string binaries;

    private PostgreSql(string binaries) => this.binaries = binaries;

    public string ConnectionString { get; private set; } = "";

    /// <summary>Starts a server; null when none is installed.</summary>
    public static PostgreSql? Start()
    {
        const string debian = "/usr/lib/postgresql";
        var found = Directory.Exists(debian)
            ? Directory.EnumerateDirectories(debian).Select(version => Path.Combine(version, "bin")).Where(bin => File.Exists(Path.Combine(bin, "initdb"))).Order(StringComparer.Ordinal).LastOrDefault()
            : null;
        if (found is null)
            return null;
        var server = new PostgreSql(found);
        server.StartServer();
        return server;
    }

    public void Dispose()
    {
        Run("pg_ctl", "-D", Data, "-m", "immediate", "-w", "stop");
        Directory.Delete(directory, recursive: true);
    }

    private string Data => Path.Combine(directory, "data");

    private void StartServer()
    {
        if (Environment.IsPrivilegedProcess)
        {
            // The server refuses to run as root.
            using var chown = Process.Start("chown", [Account, directory]);
            chown.WaitForExit();
        }

        Run("initdb", "-D", Data, "-U", Account, "-A", "trust");
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        int port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        Run("pg_ctl", "-D", Data, "-w", "-l", Path.Combine(directory, "log"), "-o", $"-p {port} -h 127.0.0.1 -k {directory}", "start");
        ConnectionString = $"Host=127.0.0.1;Port={port};Username={Account};Database={Account}";
    }

    private void Run(string program, params string[] arguments)
    {
        string path = Path.Combine(binaries, program);
        string[] command = Environment.IsPrivilegedProcess ? ["runuser", "-u", Account, "--", path, .. arguments] : [path, .. arguments];

        // Output goes nowhere: the server inherits the pipe, and whoever waited for its end would wait for the server.
        var info = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$@\" >/dev/null 2>&1", "sh", .. command]) { WorkingDirectory = directory };
        using var process = Process.Start(info) ?? throw new InvalidOperationException($"{program} did not start.");
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{program} ended with {process.ExitCode}.");
    }
}
