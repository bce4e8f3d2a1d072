using Google.LongRunning;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;

namespace Platform.Gateway.ControlPlane;

/// <summary>The public service for long-running operations, answered by the scheduler.</summary>
public sealed class ForwardedOperations(Operations.OperationsClient scheduler, Forwarder forward) : Operations.OperationsBase
{
    /// <inheritdoc/>
    public override Task<ListOperationsResponse> ListOperations(ListOperationsRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ListOperationsAsync);

    /// <inheritdoc/>
    public override Task<Operation> GetOperation(GetOperationRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.GetOperationAsync);

    /// <inheritdoc/>
    public override Task<Empty> DeleteOperation(DeleteOperationRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.DeleteOperationAsync);

    /// <inheritdoc/>
    public override Task<Empty> CancelOperation(CancelOperationRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.CancelOperationAsync);

    /// <inheritdoc/>
    public override Task<Operation> WaitOperation(WaitOperationRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.WaitOperationAsync);
}
