using System.Net;
using Platform.Core.Gangs;
using Platform.Hosting.Ranks;
using Platform.Serving.Execution.Sharding;
using Platform.Torch.Collectives;
using CollectiveStatus = Platform.Hosting.Ranks.CollectiveStatus;

namespace Platform.Serving;

/// <summary>How the ranks of a tensor-parallel replica find one another.</summary>
internal static class ReplicaGang
{
    private static readonly TimeSpan RendezvousTimeout = TimeSpan.FromMinutes(5);

    /// <summary>Meets the other ranks at the attempt's rendezvous.</summary>
    /// <param name="launch">What the process was told.</param>
    /// <param name="lost">See <see cref="TensorPeers"/>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="TimeoutException">Some ranks did not come.</exception>
    /// <exception cref="Hosting.Ranks.StaleAttemptException">The attempt is over.</exception>
    public static async Task<TensorPeers> JoinAsync(RankLaunch launch, Action<Exception> lost, CancellationToken cancellationToken)
    {
        var listener = HostCollectives.Listen(IsLocal(launch) ? IPAddress.Loopback : IPAddress.Any);
        try
        {
            var peers = await RendezvousClient.JoinAsync(launch, launch.AdvertisedHost, listener.Port, RendezvousTimeout, cancellationToken);
            Directory.CreateDirectory(launch.SharedMemoryDirectory);
            var world = HostCollectives.Connect(
                listener, launch.Rank, [.. peers.Select(peer => new RankEndpoint(peer.Rank, peer.Node, peer.Host, peer.Port))], launch.Token,
                new CollectiveOptions { SharedMemoryDirectory = launch.SharedMemoryDirectory });
            return new TensorPeers(world, TimeProvider.System, lost);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    /// <summary>What a rank's collectives are doing, as its agent wants to hear it.</summary>
    public static IReadOnlyList<CollectiveStatus> Status(TensorPeers peers) => [.. peers.Status().Select(status => new CollectiveStatus(
        status.Group, status.Sequence, status.Operation ?? "",
        status.InProgress ? (DateTimeOffset.UtcNow - status.Since).TotalSeconds : 0, status.Members, status.WaitingFor))];

    /// <summary>Whether everyone who talks to the process is on its machine.</summary>
    public static bool IsLocal(RankLaunch launch) =>
        launch.AdvertisedHost == "localhost" || (IPAddress.TryParse(launch.AdvertisedHost, out var address) && IPAddress.IsLoopback(address));
}
