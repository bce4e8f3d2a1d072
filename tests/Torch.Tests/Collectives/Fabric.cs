using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;

namespace Platform.Torch.Tests.Collectives;

/// <summary>The implementations that must be indistinguishable but for speed.</summary>
public enum Fabric
{
    Loopback,
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
            _ => throw new ArgumentOutOfRangeException(nameof(fabric)),
        };
    }
}
