using Platform.Core.Gangs;
using Platform.Formats;
using Platform.Hosting.Network;
using Platform.Hosting.Ranks;
using Platform.Hosting.Telemetry;
using Platform.Serving.Adapters;
using Platform.Serving.Engine;
using Platform.Text;

namespace Platform.Serving;

/// <summary>A replica that an agent started: tells the agent what it does and stops when the agent says so.</summary>
internal static class LaunchedReplica
{
    private static readonly TimeSpan DefaultGrace = TimeSpan.FromSeconds(5);

    /// <summary>Runs until told to stop.</summary>
    /// <returns>A code of <see cref="RankExitCode"/>.</returns>
    public static async Task<int> RunAsync(RankLaunch launch)
    {
        await using var link = await AgentLink.ConnectAsync(launch, new AgentLinkOptions(), CancellationToken.None);
        link.Progress("loading", null);
        try
        {
            await ServeAsync(launch, link);
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
            await link.FailAsync(code, exception.Message, permanent, CancellationToken.None);
            return RankExitCode.Failed;
        }
    }

    /// <summary>Settings of a launched replica.</summary>
    internal static ReplicaSettings Settings(RankLaunch launch)
    {
        var workload = GangJson.Read<ReplicaWorkload>(launch.Workload);
        if (launch.WorldSize != 1 || workload.Spec.Scaling.TensorParallel != 1)
            throw new ReplicaSettingsException([new(
                "scaling_config.tensor_parallel", $"Found {workload.Spec.Scaling.TensorParallel} over {launch.WorldSize} ranks; a replica is one process for now.")]);
        if (workload.Spec.Scaling.Device != "cpu")
            throw new ReplicaSettingsException([new(
                "scaling_config.device", $"Found '{workload.Spec.Scaling.Device}'; this replica runs on cpu only.")]);
        return new ReplicaSettings(
            workload.Deployment, Path.GetFullPath(workload.ModelDirectory, launch.ArtifactRoot), workload.Spec.Engine,
            workload.Spec.Deployment.MaxQueuedRequests, launch.ComputeThreads)
        {
            Devices = launch.Devices.Count * launch.DeviceMilli / 1000.0,
        };
    }

    private static async Task ServeAsync(RankLaunch launch, AgentLink link)
    {
        var isLocal = launch.AdvertisedHost is "localhost" or "127.0.0.1";
        var listen = isLocal ? ListenAddress.Loopback : new ListenAddress("*", 0);
        await using var app = ServingApplication.Build(
            [], Settings(launch), listen, listen, () => link.Stop?.Grace is { } grace ? grace * 0.8 : DefaultGrace, configure: null);
        using (RequestActivity.Source.Continue("start replica", launch.TraceParent))
            await app.StartAsync(link.StopRequested);
        link.MetricsAt($"{Advertised(launch, app, ServingApplication.MetricsListener)}/metrics");
        link.ReplicaReady(Advertised(launch, app, ServingApplication.EngineListener));
        link.Progress("serving", null);
        await using (link.StopRequested.Register(app.Lifetime.StopApplication))
            await app.WaitForShutdownAsync();
    }

    private static string Advertised(RankLaunch launch, WebApplication app, string listener) =>
        new UriBuilder(app.Address(listener)) { Host = launch.AdvertisedHost }.Uri.GetLeftPart(UriPartial.Authority);

    private static (FailureCode Code, bool Permanent) Classify(Exception exception) => exception switch
    {
        ModelFormatException or TokenizerFormatException or ReplicaSettingsException => (FailureCode.InputUnreadable, true),
        IOException => (FailureCode.InputUnreadable, false),
        _ => (FailureCode.WorkloadError, false),
    };
}
