using Platform.Core.Gangs;
using Platform.Formats;
using Platform.Hosting.Network;
using Platform.Hosting.Ranks;
using Platform.Hosting.Telemetry;
using Platform.Serving.Adapters;
using Platform.Serving.Engine;
using Platform.Serving.Execution.Sharding;
using Platform.Text;
using Platform.Torch.Collectives;

namespace Platform.Serving;

/// <summary>
/// A replica that an agent started, or one rank of it: tells the agent what it does and stops when the agent says so. Of a
/// tensor-parallel replica rank 0 serves; the others end when it does.
/// </summary>
internal static class LaunchedReplica
{
    // A rank that fails because another did gives that one time to say why.
    private static readonly TimeSpan CauseFirst = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan DefaultGrace = TimeSpan.FromSeconds(5);

    /// <summary>Runs until told to stop.</summary>
    /// <returns>A code of <see cref="RankExitCode"/>.</returns>
    public static async Task<int> RunAsync(RankLaunch launch)
    {
        await using var link = await AgentLink.ConnectAsync(launch, new AgentLinkOptions(), CancellationToken.None);
        link.Progress("loading", null);
        try
        {
            if (launch.Rank == 0)
                await ServeAsync(launch, link);
            else
                await FollowerReplica.RunAsync(launch, Settings(launch), link);
            return link.StopRequested.IsCancellationRequested ? RankExitCode.Stopped : RankExitCode.Success;
        }
        catch (OperationCanceledException) when (link.StopRequested.IsCancellationRequested)
        {
            return RankExitCode.Stopped;
        }
        catch (Exception exception)
        {
            var (code, permanent) = Classify(exception);
            await Console.Error.WriteLineAsync(exception.ToString());
            if (exception is CollectiveException)
                await Task.Delay(CauseFirst, link.StopRequested).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (exception is CollectiveException && link.StopRequested.IsCancellationRequested)
                return RankExitCode.Stopped;
            await link.FailAsync(code, exception.Message, permanent, CancellationToken.None);
            return RankExitCode.Failed;
        }
    }

    /// <summary>Settings of a launched replica.</summary>
    internal static ReplicaSettings Settings(RankLaunch launch)
    {
        var workload = GangJson.Read<ReplicaWorkload>(launch.Workload);
        if (launch.WorldSize != workload.Spec.Scaling.TensorParallel)
            throw new ReplicaSettingsException([new(
                "scaling_config.tensor_parallel", $"Found {workload.Spec.Scaling.TensorParallel}; the replica has {launch.WorldSize} ranks.")]);
        if (workload.Spec.Scaling.Device != "cpu")
            throw new ReplicaSettingsException([new(
                "scaling_config.device", $"Found '{workload.Spec.Scaling.Device}'; this replica runs on cpu only.")]);
        return new ReplicaSettings(
            workload.Deployment, Path.GetFullPath(workload.ModelDirectory, launch.ArtifactRoot), workload.Spec.Engine,
            workload.Spec.Deployment.MaxQueuedRequests, launch.ComputeThreads)
        {
            Adapters = [.. workload.Adapters.Select(adapter => adapter with { Directory = Path.GetFullPath(adapter.Directory, launch.ArtifactRoot) })],
            DraftDirectory = workload.DraftDirectory is { } draft ? Path.GetFullPath(draft, launch.ArtifactRoot) : null,
            SleepAfter = workload.Spec.Scaling.SleepAfterSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
            Devices = launch.WorldSize * launch.Devices.Count * launch.DeviceMilli / 1000.0,
        };
    }

    private static async Task ServeAsync(RankLaunch launch, AgentLink link)
    {
        var listen = ReplicaGang.IsLocal(launch) ? ListenAddress.Loopback : new ListenAddress("*", 0);
        var settings = Settings(launch);
        var loss = new PeerLoss();
        var peers = launch.WorldSize == 1 ? null : await ReplicaGang.JoinAsync(launch, loss.Report, link.StopRequested);
        var app = Build();
        try
        {
            await RunAsync(launch, link, app, peers, loss);
        }
        catch (Exception exception) when (exception is not CollectiveException)
        {
            await app.DisposeAsync();
            throw;
        }

        await app.DisposeAsync();

        WebApplication Build()
        {
            try
            {
                return ServingApplication.Build(
                    [], settings, listen, listen, () => link.Stop?.Grace is { } grace ? grace * 0.8 : DefaultGrace, configure: null, peers);
            }
            catch (Exception exception)
            {
                peers?.Abort(exception.Message);
                throw;
            }
        }
    }

    /// <summary>Serves until the host ends. A replica that has lost a rank leaves its host as it is: its streams must break, not end.</summary>
    private static async Task RunAsync(RankLaunch launch, AgentLink link, WebApplication app, TensorPeers? peers, PeerLoss loss)
    {
        using (RequestActivity.Source.Continue("start replica", launch.TraceParent))
            await app.StartAsync(link.StopRequested);
        link.MetricsAt($"{Advertised(launch, app, ServingApplication.MetricsListener)}/metrics");
        link.ReplicaReady(Advertised(launch, app, ServingApplication.EngineListener));
        link.Progress("serving", null);
        if (peers is not null)
            link.Collectives = () => ReplicaGang.Status(peers);
        await using (link.StopRequested.Register(app.Lifetime.StopApplication))
            await await Task.WhenAny(app.WaitForShutdownAsync(), loss.Watch());
    }

    /// <summary>
    /// The loss of a peer while the replica serves. Whoever reports it does not come back, so that no request ends with an
    /// error: the process does, and callers go on elsewhere.
    /// </summary>
    private sealed class PeerLoss
    {
        private readonly TaskCompletionSource _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private volatile bool _watched;

        public Task Watch()
        {
            _watched = true;
            return _lost.Task;
        }

        public void Report(Exception exception)
        {
            if (!_watched)
                return;
            _lost.TrySetException(exception);
            Thread.Sleep(Timeout.Infinite);
        }
    }

    private static string Advertised(RankLaunch launch, WebApplication app, string listener) =>
        new UriBuilder(app.Address(listener)) { Host = launch.AdvertisedHost }.Uri.GetLeftPart(UriPartial.Authority);

    private static (FailureCode Code, bool Permanent) Classify(Exception exception) => exception switch
    {
        ModelFormatException or TokenizerFormatException or ReplicaSettingsException => (FailureCode.InputUnreadable, true),
        CollectiveTimeoutException => (FailureCode.RankHung, false),
        CollectiveException => (FailureCode.RankExited, false),
        TimeoutException => (FailureCode.StartTimeout, false),
        IOException => (FailureCode.InputUnreadable, false),
        _ => (FailureCode.WorkloadError, false),
    };
}
