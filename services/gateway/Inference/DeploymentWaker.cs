using Platform.Internal.V1;

namespace Platform.Gateway.Inference;

/// <summary>Tells the scheduler that a request waits for a deployment without replicas.</summary>
public sealed class DeploymentWaker(EndpointService.EndpointServiceClient scheduler)
{
    /// <summary>Asks for a replica; waking a deployment that is awake changes nothing.</summary>
    public async Task WakeAsync(DeploymentRoute route, CancellationToken cancellation) =>
        await scheduler.WakeDeploymentAsync(
            new WakeDeploymentRequest { DeploymentId = route.DeploymentId, Project = route.Project },
            cancellationToken: cancellation);
}
