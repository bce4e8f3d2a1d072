using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class ConnectionTests
{
    [Fact]
    public async Task Sends_the_key_a_deadline_and_a_trace()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ListNodesRequest, ListNodesResponse>(_ => new ListNodesResponse());
        using var cli = new CommandLine();

        var run = await cli.With("PLATFORM_API_KEY", "from-environment").RunAsync("nodes", "list", "--server", platform.Address, "--api-key", "secret");

        Assert.Equal((0, "There are no nodes.\n"), (run.Code, run.Output));
        var call = Assert.Single(platform.Script.Calls);
        Assert.Equal("Bearer secret", call.Headers.GetValue("authorization"));
        Assert.Matches("^00-[0-9a-f]{32}-[0-9a-f]{16}-01$", call.Headers.GetValue("traceparent"));
        Assert.True(call.Deadline < DateTime.UtcNow.AddMinutes(1));
    }

    [Fact]
    public async Task Takes_key_and_server_from_the_environment()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ListQueuesRequest, ListQueuesResponse>(_ => new ListQueuesResponse
        {
            Queues = { new Queue { Name = "queues/default", PendingJobs = 1, RunningJobs = 2, Used = { ["cpu"] = 8 }, Weight = 1, Budget = new Budget { DeviceHours = 10, Period = BudgetPeriod.Month }, BudgetUse = new BudgetUse { DeviceHours = 2.5 } } },
        });
        using var cli = new CommandLine(platform.Address["http://".Length..]);

        var run = await cli.With("PLATFORM_API_KEY", "k").RunAsync("queues", "list");

        Assert.Equal(["QUEUE    PENDING  RUNNING  IN USE  QUOTA  BORROWED  LENT  SHARE  WEIGHT  BUDGET", "default  1        2        8 cpu   -      -         -     0      1       2.5 of 10 device-hours this month"], run.OutputLines);
        Assert.Equal("Bearer k", Assert.Single(platform.Script.Calls).Headers.GetValue("authorization"));
    }

    [Fact]
    public async Task Says_in_one_sentence_that_the_server_is_not_there()
    {
        using var cli = new CommandLine($"http://127.0.0.1:{ClosedPort()}");

        var run = await cli.RunAsync("jobs", "list");

        Assert.Equal(1, run.Code);
        Assert.Matches("^error: Cannot reach http://127\\.0\\.0\\.1:[0-9]+ \\(Connection refused.*\\)\\. Start the platform with 'platform up', or name its gRPC address with --server or PLATFORM_SERVER\\.\n$", run.Error);
    }

    [Fact]
    public async Task Refuses_an_address_that_is_none()
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync("jobs", "list", "--server", "ftp://x");

        Assert.Equal((1, "--server: 'ftp://x' is not an address; expected one such as http://localhost:8081.\n"), (run.Code, run.Error));
    }

    [Theory]
    [InlineData(StatusCode.Unauthenticated, "error: Who are you? (UNAUTHENTICATED)\nGive an API key with --api-key or PLATFORM_API_KEY.\n")]
    [InlineData(StatusCode.PermissionDenied, "error: Who are you? (PERMISSION_DENIED)\n")]
    public async Task Shows_an_error_without_details(StatusCode code, string error)
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ListNodesRequest, ListNodesResponse>(_ => throw new RpcException(new Status(code, "Who are you?")));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("nodes", "list");

        Assert.Equal((1, error), (run.Code, run.Error));
    }

    [Fact]
    public async Task Asks_again_when_the_server_is_busy_restarting()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var asked = 0;
        platform.Script.On<DrainNodeRequest, Node>(request => ++asked < 3
            ? throw new RpcException(new Status(StatusCode.Unavailable, "restarting"))
            : new Node { Name = request.Name, State = NodeState.Draining });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("nodes", "drain", "node-1");

        Assert.Equal((0, "nodes/node-1: draining\n", 3), (run.Code, run.Output, asked));
    }

    [Fact]
    public async Task Doctor_finds_the_server()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ListNodesRequest, ListNodesResponse>(_ => new ListNodesResponse { Nodes = { new Node(), new Node() } });
        using var cli = new CommandLine(platform.Address);
        var torch = Path.GetDirectoryName(cli.Write("native/libtorch_cpu.so", ""));

        var run = await cli.With("PLATFORM_LIBTORCH", torch ?? "").RunAsync("doctor");

        Assert.Equal(0, run.Code);
        Assert.Contains(run.OutputLines, line => line.StartsWith("server", StringComparison.Ordinal) && line.EndsWith($"{platform.Address} answers; 2 nodes", StringComparison.Ordinal));
        Assert.Contains(run.OutputLines, line => line.StartsWith("libtorch", StringComparison.Ordinal) && line.Contains(" ok ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Doctor_ends_badly_when_libtorch_is_not_where_it_is_said_to_be()
    {
        using var cli = new CommandLine($"http://127.0.0.1:{ClosedPort()}");

        var run = await cli.With("PLATFORM_LIBTORCH", "/absent").RunAsync("doctor", "-o", "json");

        Assert.Equal(1, run.Code);
        var checks = System.Text.Json.Nodes.JsonNode.Parse(run.Output)?["checks"]?.AsArray() ?? [];
        Assert.Equal("bad", (string?)checks.Single(check => (string?)check?["check"] == "libtorch")?["verdict"]);
        Assert.Equal("note", (string?)checks.Single(check => (string?)check?["check"] == "server")?["verdict"]);
    }

    private static int ClosedPort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
