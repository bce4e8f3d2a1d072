using System.Net;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;

namespace Platform.Torch.Tests.Collectives;

/// <summary>The implementations that must be indistinguishable but for speed.</summary>
public enum Fabric
{
    Loopback,
    SharedMemory,
    Tcp,

    /// <summary>Ranks alternate between two nodes.</summary>
    TwoNodes,
}

internal static class Fabrics
{
    /// <summary>Pieces so small that buffers of some thousand elements pass in several.</summary>
    public static CollectiveOptions SmallPieces { get; } = new()
    {
        Timeout = TimeSpan.FromSeconds(60),
        SharedMemoryBytesPerGroup = 64 << 10,
        SharedMemoryBytesPerEdge = 8 << 10,
        TcpChunkBytes = 4 << 10,
    };

    public static IReadOnlyList<ICollectiveWorld> Create(this Fabric fabric, int size, CollectiveOptions? options = null)
    {
        options ??= new CollectiveOptions { Timeout = TimeSpan.FromSeconds(60) };
        return fabric switch
        {
            Fabric.Loopback => LoopbackWorld.CreateAll(size, options),
            Fabric.SharedMemory => CreateHost(size, _ => "node", options),
            Fabric.Tcp => CreateHost(size, rank => $"node-{rank}", options),
            Fabric.TwoNodes => CreateHost(size, rank => $"node-{rank % 2}", options),
            _ => throw new ArgumentOutOfRangeException(nameof(fabric)),
        };
    }

    private static IReadOnlyList<ICollectiveWorld> CreateHost(int size, Func<int, string> node, CollectiveOptions options)
    {
        var listeners = Enumerable.Range(0, size).Select(_ => HostCollectives.Listen(IPAddress.Loopback)).ToArray();
        var table = listeners.Select((listener, rank) => new RankEndpoint(rank, node(rank), "127.0.0.1", listener.Port)).ToArray();
        var token = Guid.NewGuid().ToString();
        return [.. listeners.Select((listener, rank) => HostCollectives.Connect(listener, rank, table, token, options))];
    }
}
