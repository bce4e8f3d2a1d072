using Grpc.Core;
using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.Scheduling.Deployments;
using Platform.V1;
using DeploymentState = Platform.Scheduling.Deployments.DeploymentState;

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

    public override async Task<ReportLoadResponse> ReportLoad(ReportLoadRequest request, ServerCallContext context)
    {
        if (request.Gateway.Length == 0)
        {
            throw new InvalidRequestException("gateway", "Expected the identity of the gateway, found nothing.");
        }

        var loads = request.Loads.ToDictionary(
            load => $"{load.Project}/{load.DeploymentId}", load => new Scheduling.Deployments.DeploymentLoad(load.OngoingRequests, load.OutstandingTokens));
        await loop.RunAsync(
            control =>
            {
                control.Plane.ReportLoad(request.Gateway, loads, control.Now);
                return true;
            },
            context.CancellationToken);
        return new ReportLoadResponse();
    }

    private WatchEndpointsResponse TableOf(ControlView.Content now)
    {
        var table = new WatchEndpointsResponse { Version = now.RouteVersion };
        foreach (var deployment in now.Deployments.Where(deployment => !deployment.Deleting))
        {
            var ready = now.Replicas.Where(replica => replica.Deployment == deployment.Key && replica.IsReady).ToList();
            var served = ServedModel(deployment, ready);
            var sections = JobMessages.Parse<DeploySpec>(DeploymentSpecWriter.SectionsToJson(deployment.Spec).ToJsonString());
            var route = new DeploymentRoute
            {
                DeploymentId = deployment.Id,
                Project = deployment.Project,
                ModelPath = artifacts.Resolve(served.ModelDirectory),
                ModelVersion = served.ModelVersion,
                ContextLength = deployment.ContextLength,
                Generation = sections.EngineConfig?.Generation,
                CreateTimeUnix = deployment.CreatedAt.ToUnixTimeSeconds(),
            };
            route.Adapters.AddRange(served.Adapters.Select(adapter => adapter.Name));
            route.Endpoints.AddRange(ready.Where(replica => replica.Revision == served.Revision).Select(replica => replica.Endpoint));
            table.Routes.Add(route);
        }

        return table;
    }

    /// <summary>
    /// The revision that requests go to while replicas of several are ready: the one with the most of them, the newer one of
    /// equals. Its tokenizer, template and adapters are the ones the gateway has to use.
    /// </summary>
    private static (string ModelDirectory, int ModelVersion, IReadOnlyList<AdapterSource> Adapters, int Revision) ServedModel(
        DeploymentState deployment, IReadOnlyList<ReplicaState> ready)
    {
        var chosen = ready.GroupBy(replica => replica.Revision).OrderByDescending(group => group.Count()).ThenByDescending(group => group.Key).FirstOrDefault();
        if (chosen is null || chosen.Key == deployment.Revision)
        {
            return (deployment.ModelDirectory, deployment.ModelVersion, deployment.Adapters, deployment.Revision);
        }

        var workload = GangJson.Read<ReplicaWorkload>(chosen.First().Gang.Workload);
        return (workload.ModelDirectory, workload.ModelVersion, workload.Adapters, chosen.Key);
    }
}
