using Grpc.Core;
using Platform.Hosting.Errors;
using Platform.V1;

namespace Platform.Gateway.ControlPlane;

/// <summary>The public <c>ArtifactService</c>: part of the contract, not of this release.</summary>
public sealed class ArtifactGrpcService : ArtifactService.ArtifactServiceBase
{
    private const string Reason =
        "Staging files through the API is not available in this release: put data where the nodes can read it and name that path.";

    /// <inheritdoc/>
    public override Task<StatArtifactsResponse> StatArtifacts(StatArtifactsRequest request, ServerCallContext context) =>
        throw new UnimplementedException(Reason);

    /// <inheritdoc/>
    public override Task<UploadArtifactResponse> UploadArtifact(
        IAsyncStreamReader<UploadArtifactRequest> requestStream, ServerCallContext context) =>
        throw new UnimplementedException(Reason);

    /// <inheritdoc/>
    public override Task DownloadArtifact(
        DownloadArtifactRequest request, IServerStreamWriter<DownloadArtifactResponse> responseStream, ServerCallContext context) =>
        throw new UnimplementedException(Reason);
}
