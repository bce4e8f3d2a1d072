using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.V1;

namespace Platform.Gateway.ControlPlane;

/// <summary>The public service for deployments, answered by the scheduler.</summary>
public sealed class ForwardedDeploymentService(DeploymentService.DeploymentServiceClient scheduler, Forwarder forward) : DeploymentService.DeploymentServiceBase
{
    /// <inheritdoc/>
    public override Task<Deployment> CreateDeployment(CreateDeploymentRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.CreateDeploymentAsync);

    /// <inheritdoc/>
    public override Task<Deployment> GetDeployment(GetDeploymentRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.GetDeploymentAsync);

    /// <inheritdoc/>
    public override Task<ListDeploymentsResponse> ListDeployments(ListDeploymentsRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ListDeploymentsAsync);

    /// <inheritdoc/>
    public override Task<Deployment> UpdateDeployment(UpdateDeploymentRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.UpdateDeploymentAsync);

    /// <inheritdoc/>
    public override Task<Empty> DeleteDeployment(DeleteDeploymentRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.DeleteDeploymentAsync);

    /// <inheritdoc/>
    public override Task WatchDeployment(WatchDeploymentRequest request, IServerStreamWriter<WatchDeploymentResponse> responseStream, ServerCallContext context) =>
        forward.StreamAsync(request, responseStream, context, scheduler.WatchDeployment);
}
