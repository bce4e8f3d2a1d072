using Google.LongRunning;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.V1;

namespace Platform.Gateway.ControlPlane;

/// <summary>The public service for models, answered by the scheduler.</summary>
public sealed class ForwardedModelService(ModelService.ModelServiceClient scheduler, Forwarder forward) : ModelService.ModelServiceBase
{
    /// <inheritdoc/>
    public override Task<ListModelsResponse> ListModels(ListModelsRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ListModelsAsync);

    /// <inheritdoc/>
    public override Task<Model> GetModel(GetModelRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.GetModelAsync);

    /// <inheritdoc/>
    public override Task<Operation> ImportModel(ImportModelRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ImportModelAsync);

    /// <inheritdoc/>
    public override Task<Operation> ExportModel(ExportModelRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ExportModelAsync);

    /// <inheritdoc/>
    public override Task<Empty> DeleteModel(DeleteModelRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.DeleteModelAsync);
}
