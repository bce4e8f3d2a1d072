using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using GrpcStatus = Google.Rpc.Status;

namespace Platform.Hosting.Errors;

/// <summary>
/// A failure that the caller is told about as a <c>google.rpc.Status</c> with an <c>ErrorInfo</c> of domain
/// <c>platform</c> (AIP-193). The message says what was expected, what was found and what to do.
/// </summary>
public abstract class PlatformException : Exception
{
    /// <summary>Domain of every <c>ErrorInfo</c>.</summary>
    public const string Domain = "platform";

    /// <summary>Creates the exception.</summary>
    /// <param name="status">gRPC code.</param>
    /// <param name="reason">UPPER_SNAKE, at most 63 characters.</param>
    /// <param name="message">For people.</param>
    /// <param name="inner">Cause, if there is one.</param>
    protected PlatformException(StatusCode status, string reason, string message, Exception? inner)
        : base(message, inner)
    {
        Status = status;
        Reason = reason;
    }

    /// <summary>gRPC code.</summary>
    public StatusCode Status { get; }

    /// <summary>Reason for programs, UPPER_SNAKE.</summary>
    public string Reason { get; }

    /// <summary>Further facts for programs, in <c>ErrorInfo.metadata</c>.</summary>
    public IDictionary<string, string> Facts { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>The status with all its details.</summary>
    public GrpcStatus ToStatus()
    {
        var info = new ErrorInfo { Domain = Domain, Reason = Reason };
        foreach ((string key, string value) in Facts)
        {
            info.Metadata[key] = value;
        }

        var status = new GrpcStatus { Code = (int)Status, Message = Message };
        status.Details.Add(Any.Pack(info));
        foreach (IMessage detail in Details())
        {
            status.Details.Add(Any.Pack(detail));
        }

        return status;
    }

    /// <summary>The exception gRPC sends.</summary>
    public RpcException ToRpcException() => ToStatus().ToRpcException();

    /// <summary>Details beside the <c>ErrorInfo</c>, each type at most once.</summary>
    private protected virtual IEnumerable<IMessage> Details() => [];
}
