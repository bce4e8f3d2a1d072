using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Npgsql;

namespace Platform.Scheduler.Tests.Fixtures;

/// <summary>A PostgreSQL server of its own in a temporary directory, on a free loopback port.</summary>
internal sealed class PostgreSqlServer : IAsyncDisposable
{
    private const string Account = "postgres";
    private readonly string directory = Directory.CreateTempSubdirectory("postgresql-test-").FullName;
    private readonly string binaries;
    private Process? server;

    private PostgreSqlServer(string binaries) => this.binaries = binaries;

    public string ConnectionString { get; private set; } = "";

    /// <summary>Where the server's programs are, or null when it is not installed.</summary>
    public static string? FindBinaries() => Directory.Exists("/usr/lib/postgresql")
        ? Directory.EnumerateDirectories("/usr/lib/postgresql").Select(version => Path.Combine(version, "bin"))
            .Where(bin => File.Exists(Path.Combine(bin, "initdb")) && File.Exists(Path.Combine(bin, "postgres"))).Order(StringComparer.Ordinal).LastOrDefault()
        : null;

    public static async Task<PostgreSqlServer> StartAsync(string binaries)
    {
        var postgres = new PostgreSqlServer(binaries);
        await postgres.StartAsync();
        return postgres;
    }

    public async ValueTask DisposeAsync()
    {
        NpgsqlConnection.ClearAllPools();
        if (server is not null)
        {
            await RunAsync("pg_ctl", "-D", Data, "-m", "immediate", "-w", "stop");
            await server.WaitForExitAsync();
            server.Dispose();
        }

        Directory.Delete(directory, recursive: true);
    }

    private string Data => Path.Combine(directory, "data");

    private async Task StartAsync()
    {
        if (Environment.IsPrivilegedProcess)
        {
            // The server refuses to run as root.
            using var chown = Process.Start("chown", [Account, directory]);
            await chown.WaitForExitAsync();
        }

        await RunAsync("initdb", "-D", Data, "-U", Account, "-A", "trust", "--no-sync");
        int port = FreePort();
        server = Start("postgres", "-D", Data, "-p", $"{port}", "-h", "127.0.0.1", "-k", directory, "-c", "fsync=off");
        ConnectionString = $"Host=127.0.0.1;Port={port};Username={Account};Database={Account};Include Error Detail=true";
        await TestCluster.UntilAsync(async () =>
        {
            if (server.HasExited)
            {
                throw new InvalidOperationException($"PostgreSQL ended with {server.ExitCode}.");
            }

            try
            {
                await using var connection = new NpgsqlConnection(ConnectionString);
                await connection.OpenAsync();
                return true;
            }
            catch (NpgsqlException)
            {
                return false;
            }
        });
    }

    private async Task RunAsync(string program, params string[] arguments)
    {
        using var process = Start(program, arguments);
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{program} ended with {process.ExitCode}.");
        }
    }

    private Process Start(string program, params string[] arguments)
    {
        string path = Path.Combine(binaries, program);
        string[] command = Environment.IsPrivilegedProcess ? ["runuser", "-u", Account, "--", path, .. arguments] : [path, .. arguments];
        var info = new ProcessStartInfo(command[0]) { WorkingDirectory = directory, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in command[1..])
        {
            info.ArgumentList.Add(argument);
        }

        var process = Process.Start(info) ?? throw new InvalidOperationException($"{program} did not start.");
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
