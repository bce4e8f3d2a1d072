using Grpc.Core;
using Platform.V1;

namespace Platform.Gateway.ControlPlane;

/// <summary>The public service for nodes and queues, answered by the scheduler.</summary>
public sealed class ForwardedClusterService(ClusterService.ClusterServiceClient scheduler, Forwarder forward) : ClusterService.ClusterServiceBase
{
    /// <inheritdoc/>
    public override Task<ListNodesResponse> ListNodes(ListNodesRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ListNodesAsync);

    /// <inheritdoc/>
    public override Task<Node> GetNode(GetNodeRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.GetNodeAsync);

    /// <inheritdoc/>
    public override Task<Node> DrainNode(DrainNodeRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.DrainNodeAsync);

    /// <inheritdoc/>
    public override Task<Node> UndrainNode(UndrainNodeRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.UndrainNodeAsync);

    /// <inheritdoc/>
    public override Task<ListQueuesResponse> ListQueues(ListQueuesRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ListQueuesAsync);

    /// <inheritdoc/>
    public override Task<Queue> UpdateQueue(UpdateQueueRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.UpdateQueueAsync);

    /// <inheritdoc/>
    public override Task<QueryUsageResponse> QueryUsage(QueryUsageRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.QueryUsageAsync);

    /// <inheritdoc/>
    public override Task<SimulateResponse> Simulate(SimulateRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.SimulateAsync);
}
