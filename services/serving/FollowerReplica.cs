using Platform.Core.Gangs;
using Platform.Hosting.Ranks;
using Platform.Serving.Engine;

namespace Platform.Serving;

/// <summary>
/// A rank of a tensor-parallel replica after the first: loads its share and computes what the first tells it to. It serves
/// nobody and outlives a request to stop, because the first rank still needs it to bring its streams to an end.
/// </summary>
internal static class FollowerReplica
{
    /// <summary>Runs until the first rank ends.</summary>
    public static async Task RunAsync(RankLaunch launch, ReplicaSettings settings, AgentLink link)
    {
        using var peers = await ReplicaGang.JoinAsync(launch, _ => { }, link.StopRequested);
        try
        {
            using var shard = ReplicaModel.LoadShard(settings, peers);
            link.Progress("serving", null);
            await Task.Factory.StartNew(
                () => shard.Follow(() => link.Collectives ??= () => ReplicaGang.Status(peers)),
                CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }
        catch (Exception exception)
        {
            peers.Abort(exception.Message);
            throw;
        }
        finally
        {
            link.Collectives = null;
        }
    }
}
