using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Platform.Testing.Rabbit;

/// <summary>
/// A RabbitMQ broker of its own for tests: free ports, own node name, cookie and directories, an Erlang port mapper of
/// its own, all on the loopback interface. Everything is stopped and deleted at the end.
/// </summary>
public sealed class RabbitMqServer : IAsyncDisposable
{
    private static readonly string[] ServerPaths = ["/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/sbin/rabbitmq-server"];
    private static readonly string[] MapperPaths = ["/usr/bin/epmd", "/usr/lib/erlang/bin/epmd"];

    private readonly TemporaryDirectory _directory = new();
    private readonly int _mapperPort = FreePort();
    private readonly int _distributionPort = FreePort();
    private readonly string _node;
    private readonly string _cookie = Guid.NewGuid().ToString("N");
    private Process? _process;

    private RabbitMqServer()
    {
        AmqpPort = FreePort();
        _node = $"test-{Guid.NewGuid():N}@localhost";
    }

    /// <summary>Why there is no broker here; null when there is one.</summary>
    public static string? Unavailable => Server is null ? "rabbitmq-server is not installed (apt-get install rabbitmq-server)." : null;

    public static string Host => "127.0.0.1";

    public int AmqpPort { get; }

    public static string Username => "guest";

    public static string Password => "guest";

    /// <summary>Configuration that points the bus at the broker.</summary>
    public IReadOnlyList<string> BusArguments =>
    [
        "--Bus:Transport", "rabbitmq", "--Bus:RabbitMq:Host", Host, "--Bus:RabbitMq:Port", $"{AmqpPort}",
        "--Bus:RabbitMq:Username", Username, "--Bus:RabbitMq:Password", Password,
    ];

    private static string? Server => ServerPaths.FirstOrDefault(File.Exists);

    /// <summary>Starts a broker and waits until it accepts connections.</summary>
    public static async Task<RabbitMqServer> StartAsync()
    {
        var server = new RabbitMqServer();
        try
        {
            await server.RunAsync();
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    /// <summary>
    /// Kills the broker as a power cut would. Queues that were declared long before stay; RabbitMQ 3.10 can forget the
    /// Raft member of a quorum queue declared within the last minutes (its register is flushed by and by), and the next
    /// declaration of that queue then hangs.
    /// </summary>
    public Task KillAsync() => EndAsync(process => process.Kill(entireProcessTree: true));

    /// <summary>Stops the broker in good order; its queues stay on disk.</summary>
    public Task StopAsync() => EndAsync(process =>
    {
        using Process? kill = Process.Start("/bin/kill", ["-TERM", $"{process.Id}"]);
        kill?.WaitForExit();
    });

    /// <summary>Starts it, again after <see cref="StopAsync"/>, with the same ports and data.</summary>
    public async Task RunAsync()
    {
        string log = _directory.File("server.log");
        var start = new ProcessStartInfo("/bin/sh", ["-c", $"exec {Server} >>'{log}' 2>&1"]) { UseShellExecute = false };
        foreach ((string name, string value) in Environment())
        {
            start.Environment[name] = value;
        }

        _process = Process.Start(start) ?? throw new InvalidOperationException("rabbitmq-server did not start.");
        await Waiting.UntilAsync(
            () => _process.HasExited
                ? throw new InvalidOperationException($"rabbitmq-server ended:\n{File.ReadAllText(log)}")
                : Accepts(AmqpPort),
            "RabbitMQ accepts connections", seconds: 90);
    }

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        StopPortMapper();
        _directory.Dispose();
    }

    private async Task EndAsync(Action<Process> end)
    {
        if (_process is { } process)
        {
            _process = null;
            end(process);
            await process.WaitForExitAsync();
            process.Dispose();
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    // The protocol header is answered only once the broker itself is up, not just its listener.
    private static bool Accepts(int port)
    {
        try
        {
            using var client = new TcpClient();
            client.Connect(IPAddress.Loopback, port);
            client.ReceiveTimeout = 2000;
            using NetworkStream stream = client.GetStream();
            stream.Write("AMQP\0\0\u0009\u0001"u8);
            return stream.ReadByte() == 1;
        }
        catch (Exception exception) when (exception is SocketException or IOException)
        {
            return false;
        }
    }

    private Dictionary<string, string> Environment()
    {
        string home = Directory.CreateDirectory(_directory.File("home")).FullName;
        string config = _directory.File("rabbitmq.conf");
        File.WriteAllText(config, $"listeners.tcp.default = {Host}:{AmqpPort}\ndisk_free_limit.absolute = 10MB\n");
        File.WriteAllText(_directory.File("plugins"), "[].");
        return new Dictionary<string, string>
        {
            ["HOME"] = home,
            ["RABBITMQ_NODENAME"] = _node,
            ["RABBITMQ_NODE_IP_ADDRESS"] = Host,
            ["RABBITMQ_NODE_PORT"] = $"{AmqpPort}",
            ["RABBITMQ_DIST_PORT"] = $"{_distributionPort}",
            ["RABBITMQ_CONFIG_FILE"] = config,
            ["RABBITMQ_CONF_ENV_FILE"] = "/dev/null",
            ["RABBITMQ_ENABLED_PLUGINS_FILE"] = _directory.File("plugins"),
            ["RABBITMQ_MNESIA_BASE"] = _directory.File("mnesia"),
            ["RABBITMQ_LOG_BASE"] = _directory.File("log"),
            ["RABBITMQ_PID_FILE"] = _directory.File("pid"),
            // Few schedulers: the broker shares a small machine with what it is tested with.
            ["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] = $"-setcookie {_cookie} +S 1:1 +sbwt none -kernel inet_dist_use_interface {{127,0,0,1}}",
            ["ERL_EPMD_PORT"] = $"{_mapperPort}",
            ["ERL_EPMD_ADDRESS"] = "127.0.0.1",
        };
    }

    private void StopPortMapper()
    {
        // The port mapper outlives the broker that started it; it stops when no node is registered.
        string? program = MapperPaths.FirstOrDefault(File.Exists);
        if (program is null)
        {
            return;
        }

        using Process? process = Process.Start(new ProcessStartInfo(program, ["-port", $"{_mapperPort}", "-kill"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        });
        process?.WaitForExit(5000);
    }
}
