using System.Diagnostics;
using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using Grpc.Core.Interceptors;
using Microsoft.Extensions.Logging;

namespace Platform.Hosting.Errors;

/// <summary>
/// Turns whatever a gRPC handler throws into a status with an <c>ErrorInfo</c>. A status that came from another
/// service passes unchanged; an exception that nobody expected becomes INTERNAL and is logged with its stack.
/// </summary>
/// <param name="logger">Log of unexpected exceptions.</param>
public sealed partial class ErrorInterceptor(ILogger<ErrorInterceptor> logger) : Interceptor
{
    /// <inheritdoc/>
    public override async Task<TResponse> UnaryServerHandler<TRequest, TResponse>(
        TRequest request, ServerCallContext context, UnaryServerMethod<TRequest, TResponse> continuation)
    {
        try
        {
            return await continuation(request, context);
        }
        catch (Exception exception)
        {
            throw Translate(exception, context);
        }
    }

    /// <inheritdoc/>
    public override async Task<TResponse> ClientStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream, ServerCallContext context,
        ClientStreamingServerMethod<TRequest, TResponse> continuation)
    {
        try
        {
            return await continuation(requestStream, context);
        }
        catch (Exception exception)
        {
            throw Translate(exception, context);
        }
    }

    /// <inheritdoc/>
    public override async Task ServerStreamingServerHandler<TRequest, TResponse>(
        TRequest request, IServerStreamWriter<TResponse> responseStream, ServerCallContext context,
        ServerStreamingServerMethod<TRequest, TResponse> continuation)
    {
        try
        {
            await continuation(request, responseStream, context);
        }
        catch (Exception exception)
        {
            throw Translate(exception, context);
        }
    }

    /// <inheritdoc/>
    public override async Task DuplexStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream, IServerStreamWriter<TResponse> responseStream,
        ServerCallContext context, DuplexStreamingServerMethod<TRequest, TResponse> continuation)
    {
        try
        {
            await continuation(requestStream, responseStream, context);
        }
        catch (Exception exception)
        {
            throw Translate(exception, context);
        }
    }

    private RpcException Translate(Exception exception, ServerCallContext context)
    {
        switch (exception)
        {
            case RpcException rpc:
                return rpc;
            case PlatformException known:
                return known.ToRpcException();
            case OperationCanceledException when context.CancellationToken.IsCancellationRequested:
                return Plain(StatusCode.Cancelled, "CANCELLED", "The caller cancelled the call or its deadline passed.");
            default:
                LogUnexpected(logger, exception, context.Method);
                string trace = Activity.Current?.TraceId.ToString() ?? "none";
                return Plain(StatusCode.Internal, "INTERNAL", $"An unexpected {exception.GetType().Name} was logged under trace {trace}.");
        }
    }

    private static RpcException Plain(StatusCode code, string reason, string message)
    {
        var status = new Google.Rpc.Status { Code = (int)code, Message = message };
        status.Details.Add(Any.Pack(new ErrorInfo { Domain = PlatformException.Domain, Reason = reason }));
        return status.ToRpcException();
    }

    [LoggerMessage(EventId = 1001, Level = LogLevel.Error, Message = "Unexpected exception in {Method}")]
    private static partial void LogUnexpected(ILogger logger, Exception exception, string method);
}
