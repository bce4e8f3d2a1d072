using Grpc.Core;
using Platform.Internal.V1;

namespace Platform.Gateway.Inference;

/// <summary>Keeps the routing table as the scheduler tells it; what was last heard stays in force while it is silent.</summary>
public sealed partial class RouteWatchLoop(
    EndpointService.EndpointServiceClient scheduler,
    RoutingTable table,
    ReplicaPool replicas,
    TimeProvider time,
    ILogger<RouteWatchLoop> log) : BackgroundService
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var pause = FirstPause;
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                using var call = scheduler.WatchEndpoints(new WatchEndpointsRequest(), cancellationToken: stoppingToken);
                while (await call.ResponseStream.MoveNext(stoppingToken))
                {
                    pause = FirstPause;
                    var routes = call.ResponseStream.Current.Routes;
                    table.Replace(routes);
                    replicas.Trim(routes.SelectMany(route => route.Endpoints).ToHashSet());
                    Warm(routes);
                    LogRoutes(log, routes.Count, routes.Sum(route => route.Endpoints.Count));
                }
            }
            catch (Exception e) when (e is RpcException or OperationCanceledException && stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (RpcException e)
            {
                LogSilence(log, e.Status.Detail, pause.TotalSeconds);
            }
            try
            {
                await Task.Delay(pause, time, stoppingToken);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            pause = pause * 2 > LongestPause ? LongestPause : pause * 2;
        }
    }

    // Tokenizers are read before the first request needs them.
    private void Warm(IEnumerable<DeploymentRoute> routes)
    {
        foreach (var route in routes)
        {
            try
            {
                table.Open(route).EncodePrompt("Warm up.");
            }
            catch (Exception e) when (e is IOException or FormatException)
            {
                LogUnreadable(log, route.DeploymentId, e.Message);
            }
        }
    }

    [LoggerMessage(1003, LogLevel.Warning, "The tokenizer or template of {Deployment} cannot be used; its requests will fail: {Detail}")]
    private static partial void LogUnreadable(ILogger logger, string deployment, string detail);

    [LoggerMessage(1001, LogLevel.Information, "Routes: {Deployments} deployments, {Replicas} ready replicas")]
    private static partial void LogRoutes(ILogger logger, int deployments, int replicas);

    [LoggerMessage(1002, LogLevel.Warning, "The scheduler does not answer ({Detail}); routes stay as they are, next try in {Seconds:0.0} s")]
    private static partial void LogSilence(ILogger logger, string detail, double seconds);
}
