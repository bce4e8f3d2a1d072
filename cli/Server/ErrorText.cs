using System.Globalization;
using System.Net.Sockets;
using Google.Rpc;
using Grpc.Core;

namespace Platform.Cli.Server;

/// <summary>What a failed call says to a person, from its status and the details of <c>google.rpc</c>.</summary>
internal static class ErrorText
{
    /// <summary>The lines to print.</summary>
    /// <param name="error">The failure.</param>
    /// <param name="server">Server that was called.</param>
    /// <param name="locate">Where a field of the request was written; null when it is not from a file.</param>
    public static IReadOnlyList<string> Lines(RpcException error, Uri server, Func<string, string?>? locate = null)
    {
        if (Unreachable(error, server) is { } unreachable)
            return [unreachable];
        var status = error.GetRpcStatus();
        var info = status?.GetDetail<ErrorInfo>();
        var lines = new List<string>();
        foreach (var violation in status?.GetDetail<BadRequest>()?.FieldViolations ?? [])
        {
            var place = locate?.Invoke(violation.Field);
            lines.Add(place is null ? $"{violation.Field}: {violation.Description}" : $"{place}: {violation.Field}: {violation.Description}");
        }

        foreach (var violation in status?.GetDetail<PreconditionFailure>()?.Violations ?? [])
            lines.Add(violation.Subject.Length == 0 ? violation.Description : $"{violation.Subject}: {violation.Description}");
        foreach (var violation in status?.GetDetail<QuotaFailure>()?.Violations ?? [])
            lines.Add(violation.Subject.Length == 0 ? violation.Description : $"{violation.Subject}: {violation.Description}");
        lines.Add($"error: {Message(error, status)} ({info?.Reason ?? Code(error.StatusCode)})");
        if (status?.GetDetail<RetryInfo>()?.RetryDelay is { } delay)
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"Try again in {delay.ToTimeSpan().TotalSeconds:0.#} s."));
        if (error.StatusCode == StatusCode.Unauthenticated)
            lines.Add("Give an API key with --api-key or PLATFORM_API_KEY.");
        return lines;
    }

    /// <summary>Whether a followed stream may be opened again after this failure.</summary>
    public static bool IsTransient(RpcException error) => error.StatusCode switch
    {
        StatusCode.Unavailable or StatusCode.DeadlineExceeded => true,
        // The connection broke while a message was under way.
        StatusCode.Internal or StatusCode.Unknown or StatusCode.Cancelled => error.Status.DebugException is not null,
        _ => false,
    };

    private static string? Unreachable(RpcException error, Uri server)
    {
        if (error.Status.DebugException is not { } cause || error.StatusCode is not (StatusCode.Unavailable or StatusCode.Internal))
            return null;
        var innermost = cause;
        while (innermost.InnerException is { } inner)
            innermost = inner;
        var address = server.GetLeftPart(UriPartial.Authority);
        return innermost is SocketException or TimeoutException or OperationCanceledException
            ? $"error: Cannot reach {address} ({innermost.Message.TrimEnd('.')}). Start the platform with 'platform up', or name its gRPC address with --server or PLATFORM_SERVER."
            : $"error: {address} does not answer as a gRPC server ({innermost.Message.TrimEnd('.')}). Name the gRPC address with --server or PLATFORM_SERVER; its usual port is 8081 (8080 is HTTP).";
    }

    private static string Message(RpcException error, Google.Rpc.Status? status)
    {
        var message = status?.Message is { Length: > 0 } rich ? rich : error.Status.Detail;
        return error.StatusCode switch
        {
            StatusCode.DeadlineExceeded when message.Length == 0 => "The server did not answer in time",
            StatusCode.Unimplemented when message.Length == 0 => "The server does not have this call",
            _ when message.Length == 0 => "The call failed",
            _ => message,
        };
    }

    private static string Code(StatusCode code) =>
        string.Concat(code.ToString().Select((letter, i) => i > 0 && char.IsUpper(letter) ? $"_{letter}" : $"{letter}")).ToUpperInvariant();
}
