using Grpc.Core;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Watching;

/// <summary>Follows a job until it ends, over lost connections and restarts of the server.</summary>
internal sealed class JobStream(Session session, string name)
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>Whether a state is final.</summary>
    public static bool IsTerminal(JobState state) => state is JobState.Succeeded or JobState.Failed or JobState.Cancelled;

    /// <summary>Shows each version of the job until it is final, and returns that one.</summary>
    /// <param name="show">Told each version.</param>
    /// <param name="remark">Told when the connection is lost and when it is back.</param>
    /// <param name="cancellation">Stops following.</param>
    /// <exception cref="RpcException">The server refuses, or is gone for longer than two minutes.</exception>
    public async Task<Job> FollowAsync(Action<Job> show, Action<string> remark, CancellationToken cancellation)
    {
        var (pause, lostSince) = (FirstPause, default(DateTimeOffset?));
        while (true)
        {
            try
            {
                using var call = session.Jobs.WatchJob(new WatchJobRequest { Name = name }, session.Follow(cancellation));
                await foreach (var message in call.ResponseStream.ReadAllAsync(cancellation))
                {
                    if (lostSince is not null)
                        remark("Connected again.");
                    (pause, lostSince) = (FirstPause, null);
                    show(message.Job);
                    if (IsTerminal(message.Job.State))
                        return message.Job;
                }
            }
            catch (RpcException error) when (!cancellation.IsCancellationRequested && ErrorText.IsTransient(error)
                && (lostSince is null || DateTimeOffset.UtcNow - lostSince < Patience))
            {
                if (lostSince is null)
                    remark($"Lost the connection to {session.Server.GetLeftPart(UriPartial.Authority)}; the job goes on. Trying again.");
            }
            catch (RpcException) when (cancellation.IsCancellationRequested)
            {
                throw new OperationCanceledException(cancellation);
            }

            // A stream that ends before the job does is a server that stops: open it again.
            lostSince ??= DateTimeOffset.UtcNow;
            await Task.Delay(pause, cancellation);
            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }
}
