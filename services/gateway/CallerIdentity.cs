using System.Security.Cryptography;
using System.Text;
using Platform.Gateway.OpenAi;

namespace Platform.Gateway;

/// <summary>Who calls: the tenant whose API key came as <c>Authorization: Bearer</c>. Without configured keys, everyone is <c>default</c>.</summary>
public sealed class CallerIdentity(RequestDelegate next, GatewayOptions options)
{
    private const string Item = "platform.tenant";
    private const string Everyone = "default";

    private static readonly string[] OpenPaths = ["/healthz", "/readyz", "/metrics", "/grpc.health.v1.Health"];

    /// <summary>The caller's tenant.</summary>
    public static string TenantOf(HttpContext context) => context.Items[Item] as string ?? Everyone;

    /// <summary>Lets a request pass when its key is known.</summary>
    public async Task InvokeAsync(HttpContext context)
    {
        var keys = options.ApiKeys;
        if (keys.Count > 0 && !OpenPaths.Any(path => context.Request.Path.StartsWithSegments(path, StringComparison.Ordinal)))
        {
            if (Find(keys, context.Request.Headers.Authorization.ToString()) is not { } tenant)
            {
                await RefuseAsync(context);
                return;
            }
            context.Items[Item] = tenant;
        }
        await next(context);
    }

    private static string? Find(IReadOnlyDictionary<string, string> keys, string header)
    {
        const string scheme = "Bearer ";
        if (!header.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
            return null;
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes(header[scheme.Length..].Trim()));
        string? found = null;
        foreach (var (tenant, expected) in keys)
        {
            // Every key is compared in constant time, so that the time of a refusal tells nothing.
            if (CryptographicOperations.FixedTimeEquals(hash, Convert.FromHexString(expected)))
                found = tenant;
        }
        return found;
    }

    private static async Task RefuseAsync(HttpContext context)
    {
        const string message = "The API key is missing or not known; send it as 'Authorization: Bearer KEY'.";
        if (context.Request.ContentType?.StartsWith("application/grpc", StringComparison.Ordinal) is true)
        {
            context.Response.StatusCode = StatusCodes.Status200OK;
            context.Response.ContentType = "application/grpc";
            context.Response.Headers["grpc-status"] = "16";
            context.Response.Headers["grpc-message"] = message;
            return;
        }
        context.Response.StatusCode = StatusCodes.Status401Unauthorized;
        context.Response.Headers.WWWAuthenticate = "Bearer";
        await context.Response.WriteAsJsonAsync(
            new ErrorBody(new ErrorDetail(message, "authentication_error", null, "invalid_api_key")),
            OpenAiJson.Options,
            context.RequestAborted);
    }
}
