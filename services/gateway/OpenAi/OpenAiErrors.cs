using System.Globalization;
using System.Text.Json;
using Google.Rpc;
using HttpResponse = Microsoft.AspNetCore.Http.HttpResponse;
using Grpc.Core;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Text.Templates;

namespace Platform.Gateway.OpenAi;

/// <summary>Turns whatever a request ended with into the status and body that OpenAI's clients understand.</summary>
public static class OpenAiErrors
{
    /// <summary>Status, body and, where it makes sense to try again, the delay.</summary>
    /// <param name="Status">HTTP status.</param>
    /// <param name="Body">Body.</param>
    /// <param name="RetryAfter">When to try again.</param>
    public sealed record Answer(int Status, ErrorBody Body, TimeSpan? RetryAfter = null);

    /// <summary>Maps an exception; null for one that is nobody's fault but the gateway's.</summary>
    public static Answer? Of(Exception exception) => exception switch
    {
        InvalidRequestException e => Invalid(e.Violations),
        JsonException e => new Answer(400, Body($"The body is not the JSON that was expected: {e.Message}", "invalid_request_error", e.Path, "invalid_json")),
        BadHttpRequestException e => new Answer(e.StatusCode, Body(e.Message, "invalid_request_error", null, null)),
        ChatTemplateRefusedException or ChatTemplateException => new Answer(400, Body(exception.Message, "invalid_request_error", "messages", "chat_template")),
        NotFoundException e => new Answer(404, Body(e.Message, "invalid_request_error", "model", "model_not_found")),
        UnavailableException e => new Answer(503, Body(e.Message, "server_error", null, e.Reason.ToLowerInvariant()), TimeSpan.FromSeconds(5)),
        UnimplementedException e => new Answer(501, Body(e.Message, "invalid_request_error", null, "not_available")),
        RpcException e => OfStatus(e),
        _ => null,
    };

    /// <summary>Writes an error as the whole answer.</summary>
    public static async Task WriteAsync(HttpResponse response, Answer answer, CancellationToken cancellation)
    {
        response.StatusCode = answer.Status;
        if (answer.RetryAfter is { } delay)
            response.Headers.RetryAfter = Math.Max(1, Math.Ceiling(delay.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
        await response.WriteAsJsonAsync(answer.Body, OpenAiJson.Options, cancellation);
    }

    private static Answer Invalid(IReadOnlyList<Violation> violations) => new(400, Body(
        string.Join(" ", violations.Select(violation => violation.ToString())),
        "invalid_request_error",
        violations[0].Field,
        "invalid_value"));

    private static Answer OfStatus(RpcException e)
    {
        var details = e.GetRpcStatus();
        var retry = details?.GetDetail<RetryInfo>()?.RetryDelay?.ToTimeSpan();
        string? field = details?.GetDetail<BadRequest>()?.FieldViolations.FirstOrDefault()?.Field;
        string message = e.Status.Detail;
        return e.StatusCode switch
        {
            StatusCode.InvalidArgument or StatusCode.OutOfRange =>
                new Answer(400, Body(message, "invalid_request_error", field, "invalid_value")),
            StatusCode.FailedPrecondition => new Answer(400, Body(message, "invalid_request_error", field, "failed_precondition")),
            StatusCode.NotFound => new Answer(404, Body(message, "invalid_request_error", field, "not_found")),
            StatusCode.Unauthenticated => new Answer(401, Body(message, "authentication_error", null, "invalid_api_key")),
            StatusCode.PermissionDenied => new Answer(403, Body(message, "permission_error", null, null)),
            StatusCode.ResourceExhausted =>
                new Answer(429, Body(message, "rate_limit_error", null, "queue_full"), retry ?? TimeSpan.FromSeconds(1)),
            StatusCode.Unimplemented => new Answer(501, Body(message, "invalid_request_error", field, "not_available")),
            StatusCode.DeadlineExceeded => new Answer(504, Body(message, "server_error", null, "timeout")),
            StatusCode.Unavailable => new Answer(503, Body(message, "server_error", null, "unavailable"), TimeSpan.FromSeconds(1)),
            _ => new Answer(500, Body(message, "server_error", null, null)),
        };
    }

    private static ErrorBody Body(string message, string type, string? param, string? code) =>
        new(new ErrorDetail(message, type, param, code));
}
