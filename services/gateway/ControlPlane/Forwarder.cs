using Grpc.Core;
using Platform.Hosting.Network;

namespace Platform.Gateway.ControlPlane;

/// <summary>
/// Passes control calls on to the scheduler, which implements the same services. Errors pass with all their details: the
/// status and its trailers are the scheduler's. Who called goes along, so that the scheduler can account for it.
/// </summary>
public sealed class Forwarder(GatewayOptions options, TimeProvider time, IHostApplicationLifetime lifetime)
{
    /// <summary>Passes a unary call on.</summary>
    public async Task<TResponse> UnaryAsync<TRequest, TResponse>(
        TRequest request, ServerCallContext context, Func<TRequest, CallOptions, AsyncUnaryCall<TResponse>> call)
    {
        using var upstream = call(request, Options(context, bounded: true));
        try
        {
            return await upstream.ResponseAsync;
        }
        catch (RpcException e)
        {
            throw Passed(e);
        }
    }

    /// <summary>Passes a server stream on, message by message; it ends with UNAVAILABLE when the gateway stops.</summary>
    public async Task StreamAsync<TRequest, TResponse>(
        TRequest request,
        IServerStreamWriter<TResponse> responses,
        ServerCallContext context,
        Func<TRequest, CallOptions, AsyncServerStreamingCall<TResponse>> call)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping);
        using var upstream = call(request, Options(context, bounded: false).WithCancellationToken(ended.Token));
        try
        {
            while (await upstream.ResponseStream.MoveNext(ended.Token))
                await responses.WriteAsync(upstream.ResponseStream.Current, ended.Token);
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException
            && lifetime.ApplicationStopping.IsCancellationRequested && !context.CancellationToken.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, "The gateway is stopping; call again."));
        }
        catch (RpcException e)
        {
            throw Passed(e);
        }
    }

    private static RpcException Passed(RpcException e)
    {
        var trailers = new Metadata();
        foreach (var entry in e.Trailers.Where(entry => entry.Key is "grpc-status-details-bin"))
            trailers.Add(entry);
        return new RpcException(e.Status, trailers);
    }

    private CallOptions Options(ServerCallContext context, bool bounded)
    {
        DateTime? deadline = context.Deadline == DateTime.MaxValue ? null : context.Deadline;
        if (bounded && deadline is null)
            deadline = time.GetUtcNow().UtcDateTime.AddSeconds(options.ControlTimeoutSeconds);
        return new CallOptions(CallerHeader.Of(CallerIdentity.TenantOf(context.GetHttpContext())), deadline, context.CancellationToken);
    }
}
