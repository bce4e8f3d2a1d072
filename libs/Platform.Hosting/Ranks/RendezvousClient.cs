using System.Diagnostics;
using Grpc.Core;
using Grpc.Net.Client;
using Platform.Core.Gangs;
using Platform.Hosting.Network;
using Platform.Internal.V1;

namespace Platform.Hosting.Ranks;

/// <summary>A rank's side of the rendezvous, at which the ranks of an attempt learn one another's addresses.</summary>
public static class RendezvousClient
{
    /// <summary>Tells the rendezvous where this rank listens and waits until every rank has done so.</summary>
    /// <param name="launch">What the process was told; its rendezvous address must be set.</param>
    /// <param name="host">Where this rank listens for its peers.</param>
    /// <param name="port">Port.</param>
    /// <param name="timeout">How long to wait for the slowest rank.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>All ranks, ordered by rank.</returns>
    /// <exception cref="TimeoutException">Some ranks did not come; the message names them if the rendezvous knew.</exception>
    /// <exception cref="StaleAttemptException">The rendezvous belongs to another attempt.</exception>
    /// <exception cref="InvalidOperationException">The launch names no rendezvous.</exception>
    public static async Task<IReadOnlyList<RankPeer>> JoinAsync(
        RankLaunch launch, string host, int port, TimeSpan timeout, CancellationToken cancellationToken)
    {
        string address = launch.RendezvousAddress
            ?? throw new InvalidOperationException($"Rank {launch.Rank} of {launch.Gang} was launched without a rendezvous address.");
        var request = new JoinRequest
        {
            Gang = launch.Gang,
            Attempt = launch.Attempt,
            Token = launch.Token,
            Rank = launch.Rank,
            WorldSize = launch.WorldSize,
            Host = host,
            Port = port,
            Node = launch.Node,
        };
        using GrpcChannel channel = GrpcChannels.Connect(address);
        var client = new RendezvousService.RendezvousServiceClient(channel);
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            TimeSpan left = timeout - Stopwatch.GetElapsedTime(start);
            try
            {
                JoinResponse response = await client.JoinAsync(
                    request, deadline: DateTime.UtcNow + Max(left, TimeSpan.Zero), cancellationToken: cancellationToken);
                return [.. response.Ranks.Select(r => new RankPeer(r.Rank, r.Host, r.Port, r.Node))];
            }
            catch (RpcException exception) when (exception.StatusCode is StatusCode.PermissionDenied or StatusCode.FailedPrecondition)
            {
                throw new StaleAttemptException(exception.Status.Detail, exception);
            }
            catch (RpcException exception) when (exception.StatusCode is StatusCode.DeadlineExceeded || left <= TimeSpan.Zero)
            {
                throw new TimeoutException(
                    $"Rank {launch.Rank} waited {timeout.TotalSeconds:F0} s at the rendezvous {address}: {exception.Status.Detail}", exception);
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.Unavailable && !cancellationToken.IsCancellationRequested)
            {
                await Task.Delay(200, cancellationToken);
            }
        }
    }

    private static TimeSpan Max(TimeSpan a, TimeSpan b) => a > b ? a : b;
}
