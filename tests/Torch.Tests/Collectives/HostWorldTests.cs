using System.Net;
using System.Net.Sockets;
using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>What concerns worlds of processes alone: their files, tokens and strangers.</summary>
public sealed class HostWorldTests : IDisposable
{
    private readonly DirectoryInfo directory = Directory.CreateTempSubdirectory("collectives-");

    public void Dispose() => directory.Delete(recursive: true);

    [Fact]
    public void The_shared_file_is_unlinked_as_soon_as_every_member_has_it_open()
    {
        var options = new CollectiveOptions { SharedMemoryDirectory = directory.FullName, Timeout = TimeSpan.FromSeconds(60) };
        RankThreads.Run(Fabric.SharedMemory.Create(4, options), world =>
        {
            using var group = world.CreateGroup("tensor group 0", world.All());
            group.Barrier();
            Assert.Empty(directory.GetFiles());
            group.Barrier();
        });
    }

    [Fact]
    public void The_shared_file_of_a_group_that_never_met_is_removed_with_it()
    {
        var options = new CollectiveOptions { SharedMemoryDirectory = directory.FullName };
        var worlds = Fabric.SharedMemory.Create(2, options);
        using (worlds[1])
        using (worlds[0])
        using (worlds[0].CreateGroup("tensor group 0", [0, 1]))
        {
            var file = Assert.Single(directory.GetFiles());
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode);
        }
        Assert.Empty(directory.GetFiles());
    }

    [Fact]
    public void Shared_memory_that_cannot_be_made_is_an_error_that_names_the_directory()
    {
        var missing = Path.Combine(directory.FullName, "missing");
        using var world = Fabric.SharedMemory.Create(1, new CollectiveOptions { SharedMemoryDirectory = missing })[0];
        var exception = Assert.Throws<CollectiveConnectException>(() => world.CreateGroup("tensor group 0", [0]));
        Assert.Contains(missing, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Worlds_with_the_same_group_names_do_not_interfere()
    {
        var options = new CollectiveOptions { SharedMemoryDirectory = directory.FullName, Timeout = TimeSpan.FromSeconds(60) };
        var runs = Enumerable.Range(0, 3).Select(number => new Thread(() => RankThreads.Run(Fabric.TwoNodes.Create(4, options), world =>
        {
            using var all = world.CreateGroup("all", world.All());
            using var node = world.CreateGroup($"node {world.Rank % 2}", [world.Rank % 2, world.Rank % 2 + 2]);
            for (var round = 0; round < 50; round++)
            {
                using var buffer = HostBuffer.Of(number, round);
                node.AllReduce(buffer.Buffer, ReduceOperation.Sum);
                all.AllReduce(buffer.Buffer, ReduceOperation.Sum);
                Assert.Equal([number * 8f, round * 8f], buffer.ToFloats());
            }
        }))).ToList();
        runs.ForEach(run => run.Start());
        runs.ForEach(run => run.Join());
    }

    [Fact]
    public void A_rank_with_another_token_is_refused()
    {
        var options = new CollectiveOptions { Timeout = TimeSpan.FromMilliseconds(500) };
        var listeners = new[] { HostCollectives.Listen(IPAddress.Loopback), HostCollectives.Listen(IPAddress.Loopback) };
        var table = listeners.Select((listener, rank) => new RankEndpoint(rank, $"node-{rank}", "127.0.0.1", listener.Port)).ToArray();
        var worlds = listeners.Select((listener, rank) => HostCollectives.Connect(listener, rank, table, $"token of {rank}", options)).ToArray();
        var failures = RankThreads.Collect(worlds, world =>
        {
            using var group = world.CreateGroup("all", [0, 1]);
            group.Barrier();
        });
        Assert.Contains("refused", Assert.IsType<CollectiveConnectException>(failures[0]).Message, StringComparison.Ordinal);
        // The refused rank could not abort the other's world either.
        Assert.Contains("rank 0 has not entered barrier #1 of all", Assert.IsType<CollectiveTimeoutException>(failures[1]).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_stranger_at_the_port_is_shown_out_and_the_world_goes_on()
    {
        var listeners = new[] { HostCollectives.Listen(IPAddress.Loopback), HostCollectives.Listen(IPAddress.Loopback) };
        var table = listeners.Select((listener, rank) => new RankEndpoint(rank, $"node-{rank}", "127.0.0.1", listener.Port)).ToArray();
        using var stranger = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 60_000 };
        stranger.Connect(IPAddress.Loopback, listeners[1].Port);
        stranger.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"u8);
        using var silent = new Socket(SocketType.Stream, ProtocolType.Tcp);
        silent.Connect(IPAddress.Loopback, listeners[1].Port);
        RankThreads.Run([.. listeners.Select((listener, rank) => HostCollectives.Connect(listener, rank, table, "token", null))], world =>
        {
            using var group = world.CreateGroup("all", [0, 1]);
            group.Barrier();
            if (world.Rank == 1)
                Assert.Equal(0, ReceiveOrReset(stranger));
            group.Barrier();
        });
    }

    [Fact]
    public void Tables_and_options_that_make_no_sense_are_refused()
    {
        using var listener = HostCollectives.Listen(IPAddress.Loopback);
        RankEndpoint[] gap = [new(0, "node", "127.0.0.1", 1), new(2, "node", "127.0.0.1", 2)];
        Assert.Throws<ArgumentException>(() => HostCollectives.Connect(listener, 0, gap, "token", null));
        Assert.Throws<ArgumentOutOfRangeException>(() => HostCollectives.Connect(listener, 1, gap[..1], "token", null));
        var options = Assert.Throws<ArgumentException>(() => HostCollectives.Connect(
            listener, 0, gap[..1], "token", new CollectiveOptions { Timeout = TimeSpan.Zero, TcpChunkBytes = 1 }));
        Assert.Contains("Timeout", options.Message, StringComparison.Ordinal);
        Assert.Contains("TcpChunkBytes", options.Message, StringComparison.Ordinal);
    }

    private static int ReceiveOrReset(Socket socket)
    {
        try
        {
            return socket.Receive(new byte[64]);
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionReset)
        {
            return 0;
        }
    }
}
