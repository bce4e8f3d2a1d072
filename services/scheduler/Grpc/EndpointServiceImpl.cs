using Grpc.Core;
using Platform.Core.Deployments;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.V1;

namespace Platform.Scheduler.Grpc;

/// <summary>What the gateway needs to route inference.</summary>
internal sealed class EndpointServiceImpl(ControlLoop loop, ControlView view, ChangeFeed feed, ArtifactOptions artifacts) : EndpointService.EndpointServiceBase
{
    public override async Task WatchEndpoints(WatchEndpointsRequest request, IServerStreamWriter<WatchEndpointsResponse> responseStream, ServerCallContext context)
    {
        using var watcher = feed.Watch(ControlView.Routes);

        // Through the loop once, so that the first table is never that of a scheduler that has not read its state yet.
        await loop.RunAsync(control => true, context.CancellationToken);
        long sent = -1;
        while (true)
        {
            var now = view.Now;
            if (!now.Leading)
            {
                throw new UnavailableException("NOT_LEADING", "This scheduler no longer leads.");
            }

            if (now.RouteVersion != sent)
            {
                sent = now.RouteVersion;
                await responseStream.WriteAsync(TableOf(now), context.CancellationToken);
            }

            using var patience = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
            patience.CancelAfter(TimeSpan.FromSeconds(1));
            try
            {
                await watcher.WaitAsync(patience.Token);
            }
            catch (OperationCanceledException) when (!context.CancellationToken.IsCancellationRequested)
            {
                // Only to notice that the leadership went away.
            }
        }
    }

    public override async Task<WakeDeploymentResponse> WakeDeployment(WakeDeploymentRequest request, ServerCallContext context)
    {
        string project = request.Project.Length > 0 ? request.Project : "default";
        await loop.RunAsync(
            control =>
            {
                var deployment = control.Plane.FindDeployment($"{project}/{request.DeploymentId}")
                    ?? throw new NotFoundException(ResourceNames.Deployment(project, request.DeploymentId));
                if (deployment is { DesiredReplicas: 0, Deleting: false })
                {
                    control.Plane.PutDeployment(deployment with { DesiredReplicas = Math.Max(1, deployment.Spec.Deployment.InitialReplicas) });
                }

                return true;
            },
            context.CancellationToken);
        return new WakeDeploymentResponse();
    }

    private WatchEndpointsResponse TableOf(ControlView.Content now)
    {
        var table = new WatchEndpointsResponse { Version = now.RouteVersion };
        foreach (var deployment in now.Deployments.Where(deployment => !deployment.Deleting))
        {
            var sections = JobMessages.Parse<DeploySpec>(DeploymentSpecWriter.SectionsToJson(deployment.Spec).ToJsonString());
            var route = new DeploymentRoute
            {
                DeploymentId = deployment.Id,
                Project = deployment.Project,
                ModelPath = artifacts.Resolve(deployment.ModelDirectory),
                ModelVersion = deployment.ModelVersion,
                ContextLength = deployment.ContextLength,
                Generation = sections.EngineConfig?.Generation,
                CreateTimeUnix = deployment.CreatedAt.ToUnixTimeSeconds(),
            };
            route.Endpoints.AddRange(now.Replicas.Where(replica => replica.Deployment == deployment.Key && replica.IsReady).Select(replica => replica.Endpoint));
            table.Routes.Add(route);
        }

        return table;
    }
}
