using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Hosting.Ranks;
using Platform.Hosting.Telemetry;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Native;
using Platform.Worker.Engine.Planning;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine;

/// <summary>The rank process: <c>platform-worker rank --launch FILE</c>.</summary>
public static class RankProgram
{
    // A rank that fails because another did gives that one time to say why.
    private static readonly TimeSpan CauseFirst = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan RendezvousTimeout = TimeSpan.FromMinutes(5);

    /// <summary>Runs a rank to its end.</summary>
    /// <param name="launchFile">The <see cref="RankLaunch"/> as JSON.</param>
    /// <param name="cancellationToken">The process is told to end; training stops after its present step.</param>
    /// <returns>An exit code of <see cref="RankExitCode"/>.</returns>
    public static async Task<int> RunAsync(string launchFile, CancellationToken cancellationToken)
    {
        var launch = GangJson.Read<RankLaunch>(await File.ReadAllTextAsync(launchFile, cancellationToken));
        using var telemetry = ProcessTelemetry.Start("platform-rank");
        using var loggers = LoggerFactory.Create(logging => logging.AddSimpleConsole(console =>
        {
            console.SingleLine = true;
            console.TimestampFormat = "HH:mm:ss.fff ";
        }));
        var logger = loggers.CreateLogger("Platform.Worker.Rank");
        using var run = RankTelemetry.Source.Continue("run", launch.TraceParent);
        run?.SetTag("rank", launch.Rank).SetTag("gang", launch.Gang).SetTag("attempt", launch.Attempt);
        RankLog.Started(logger, launch.Rank, launch.WorldSize, launch.Gang, launch.Attempt, launch.ComputeThreads, launch.Node);

        await using var link = await AgentLink.ConnectAsync(launch, new AgentLinkOptions(), cancellationToken);
        try
        {
            link.Progress("preparing", null);
            using var host = new AgentTrainingHost(link, cancellationToken);
            var outcome = await RunRankAsync(launch, link, host, logger, host.StopRequested);
            if (outcome == TrainingOutcome.Finished)
                return RankExitCode.Success;
            RankLog.Stopped(logger, host.Stop?.Reason ?? "another rank was asked to stop");
            return RankExitCode.Stopped;
        }
        catch (OperationCanceledException) when (link.StopRequested.IsCancellationRequested || cancellationToken.IsCancellationRequested)
        {
            RankLog.Stopped(logger, link.Stop?.Reason ?? "the process was told to end");
            return RankExitCode.Stopped;
        }
        catch (Exception exception)
        {
            return await FailAsync(launch, link, logger, exception);
        }
    }

    private static async Task<int> FailAsync(RankLaunch launch, AgentLink link, ILogger logger, Exception exception)
    {
        var failure = RankFailure.Of(exception);
        RankLog.Failed(logger, FailureReasons.ToReason(failure.Code), failure.Message, exception);
        if (failure.IsConsequence)
            await Task.Delay(CauseFirst, link.StopRequested).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (failure.IsConsequence && link.StopRequested.IsCancellationRequested)
            return RankExitCode.Stopped;
        try
        {
            using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            await link.FailAsync(
                new GangFailure
                {
                    Code = failure.Code,
                    Message = $"Rank {launch.Rank}: {failure.Message}",
                    IsPermanent = failure.IsPermanent,
                    Checkpoint = failure.Checkpoint,
                },
                patience.Token);
        }
        catch (Exception unsent) when (unsent is StaleAttemptException or OperationCanceledException or Grpc.Core.RpcException)
        {
            // Nobody is left to hear it; the exit code and the log say that it failed.
        }

        return RankExitCode.Failed;
    }

    private static async Task<TrainingOutcome> RunRankAsync(
        RankLaunch launch, AgentLink link, ITrainingHost host, ILogger logger, CancellationToken stop)
    {
        var spec = JobSpecReader.Read(JsonNode.Parse(launch.Workload)) switch
        {
            Validated<TrainingJobSpec>.Valid valid => valid.Value,
            Validated<TrainingJobSpec>.Invalid invalid => throw new PlanRefusedException(invalid.Violations),
            _ => throw new InvalidOperationException("A job is valid or not."),
        };
        using var gpu = spec.Resources.Device == "cuda" ? RankGpu.Open() : null;
        using var world = await JoinAsync(launch, spec, gpu, stop);
        link.Collectives = () => [.. world.Status().Select(status => new Hosting.Ranks.CollectiveStatus(
            status.Group, status.Sequence, status.Operation ?? "",
            status.InProgress ? (DateTimeOffset.UtcNow - status.Since).TotalSeconds : 0, status.Members, status.WaitingFor))];
        try
        {
            var outcome = await OnModelThreadAsync(launch, world, () => new TrainingSession(world, launch, spec, host, logger) { OwnsProcess = true, Device = gpu?.Place, Staging = gpu?.Staging }.Run());
            await link.FlushAsync(CancellationToken.None);
            return outcome;
        }
        finally
        {
            link.Collectives = null;
        }
    }

    private static async Task<ICollectiveWorld> JoinAsync(RankLaunch launch, TrainingJobSpec spec, RankGpu? gpu, CancellationToken stop)
    {
        if (launch.WorldSize == 1)
            return LoopbackWorld.CreateAll(1)[0];
        var isLocal = launch.AdvertisedHost == "localhost" || (IPAddress.TryParse(launch.AdvertisedHost, out var address) && IPAddress.IsLoopback(address));
        var listener = HostCollectives.Listen(isLocal ? IPAddress.Loopback : IPAddress.Any);
        try
        {
            var peers = await RendezvousClient.JoinAsync(launch, launch.AdvertisedHost, listener.Port, RendezvousTimeout, stop);
            Directory.CreateDirectory(launch.SharedMemoryDirectory);
            var options = new CollectiveOptions
            {
                SharedMemoryDirectory = launch.SharedMemoryDirectory,
                PendingMessagesPerEdge = TrainingPlan.MostMessagesUnderWay(ElasticWidth.Of(spec, launch.WorldSize)),
            };
            var host = HostCollectives.Connect(
                listener, launch.Rank, [.. peers.Select(peer => new RankEndpoint(peer.Rank, peer.Node, peer.Host, peer.Port))], launch.Token,
                options);
            return gpu is null ? host : gpu.Over(host, options);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Runs the model on a thread of its own: dispose scopes, gradient mode and thread counts belong to a thread. A failure
    /// there ends the whole world at once.
    /// </summary>
    private static Task<TrainingOutcome> OnModelThreadAsync(RankLaunch launch, ICollectiveWorld world, Func<TrainingOutcome> body)
    {
        var result = new TaskCompletionSource<TrainingOutcome>(TaskCreationOptions.RunContinuationsAsynchronously);
        var context = ExecutionContext.Capture();
        var thread = new Thread(() =>
        {
            if (context is null)
                Run();
            else
                ExecutionContext.Run(context, _ => Run(), null);
        })
        { IsBackground = true, Name = "model" };
        thread.Start();
        return result.Task;

        void Run()
        {
            try
            {
                TorchThreads.Set(Math.Max(1, launch.ComputeThreads));
                result.SetResult(body());
            }
            catch (Exception failure)
            {
                world.Abort(failure.Message);
                result.SetException(failure);
            }
        }
    }
}
