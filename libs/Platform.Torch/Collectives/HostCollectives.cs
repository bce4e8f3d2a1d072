using System.Net;

namespace Platform.Torch.Collectives;

/// <summary>
/// Collectives among processes on CPUs: shared memory between ranks of one node, TCP between nodes. A rank listens first,
/// makes its port known, learns the ports of all others by means of its own, and then connects.
/// </summary>
public static class HostCollectives
{
    /// <summary>Binds a free port of the address.</summary>
    public static HostListener Listen(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        return new HostListener(address);
    }

    /// <summary>Joins the world that the table describes. Returns at once; connections are made as groups need them.</summary>
    /// <param name="listener">What <see cref="Listen"/> returned; owned by the world from here on.</param>
    /// <param name="worldRank">This process's rank.</param>
    /// <param name="table">Every rank of the world, the same on all of them, in any order.</param>
    /// <param name="token">Secret of this world alone; names its shared files and proves who belongs.</param>
    /// <param name="options">Settings, the same on all ranks; null for the defaults.</param>
    /// <exception cref="ArgumentException">The table is not that of a world with this rank, or an option is out of range.</exception>
    public static ICollectiveWorld Connect(
        HostListener listener, int worldRank, IReadOnlyList<RankEndpoint> table, string token, CollectiveOptions? options)
    {
        ArgumentNullException.ThrowIfNull(listener);
        ArgumentNullException.ThrowIfNull(table);
        ArgumentException.ThrowIfNullOrWhiteSpace(token);
        options ??= new CollectiveOptions();
        options.Validate();
        var ranks = table.OrderBy(endpoint => endpoint.WorldRank).ToArray();
        if (!ranks.Select(endpoint => endpoint.WorldRank).SequenceEqual(Enumerable.Range(0, ranks.Length)))
            throw new ArgumentException($"a table of {ranks.Length} ranks must hold each of 0 to {ranks.Length - 1} once, not {string.Join(", ", ranks.Select(endpoint => endpoint.WorldRank))}", nameof(table));
        if (worldRank < 0 || worldRank >= ranks.Length)
            throw new ArgumentOutOfRangeException(nameof(worldRank), worldRank, $"the table has ranks 0 to {ranks.Length - 1}");
        return new HostWorld(listener, worldRank, ranks, token, options);
    }
}
