using System.Diagnostics;
using System.Text.Json;
using Grpc.Core;
using Platform.Gateway.Inference;

namespace Platform.Gateway.OpenAi;

/// <summary>The paths of the OpenAI API.</summary>
public static partial class OpenAiEndpoints
{
    /// <summary>Maps them.</summary>
    public static void MapOpenAi(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/v1/chat/completions", (HttpContext context, ChatCompletions chat) =>
            AnswerAsync<ChatCompletionRequest>(context, "chat", chat.Read, chat.RunAsync));
        routes.MapPost("/v1/completions", (HttpContext context, Completions completions) =>
            AnswerAsync<CompletionRequest>(context, "text_completion", completions.Read, completions.RunAsync));
        routes.MapGet("/v1/models", (HttpContext context, RoutingTable table) => Results.Json(
            new ModelList("list", [.. table.Routes.Keys.Concat(table.Adapters.Keys).Order(StringComparer.Ordinal).Select(id => CardOf(table, id)).OfType<ModelCard>()]),
            OpenAiJson.Options));
        routes.MapGet("/v1/models/{id}", (HttpContext context, RoutingTable table, string id) => CardOf(table, id) is { } card
            ? Results.Json(card, OpenAiJson.Options)
            : Results.Json(
                new ErrorBody(new ErrorDetail($"The model '{id}' is not deployed.", "invalid_request_error", "model", "model_not_found")),
                OpenAiJson.Options,
                statusCode: StatusCodes.Status404NotFound));
        routes.MapPost("/v1/embeddings", (HttpContext context, Embeddings embeddings) => AnswerAsync<EmbeddingRequest>(
            context,
            "embeddings",
            async (request, cancellation) => await context.Response.WriteAsJsonAsync(
                await embeddings.AnswerAsync(request, CallerIdentity.TenantOf(context), cancellation), OpenAiJson.Options, cancellation)));
        routes.MapPost("/v1/responses", (HttpContext context, Responses responses) => AnswerAsync<ResponseRequest>(
            context, "responses", (request, cancellation) => responses.RunAsync(request, CallerIdentity.TenantOf(context), context.Response, cancellation)));
        foreach (string path in new[] { "/v1/responses/{id}", "/v1/responses/{id}/input_items" })
        {
            routes.MapGet(path, (string id) => Results.Json(
                new ErrorBody(new ErrorDetail($"There is no response '{id}': responses are not stored in this release.", "invalid_request_error", null, "not_found")),
                OpenAiJson.Options,
                statusCode: StatusCodes.Status404NotFound));
        }
    }

    private static ModelCard? CardOf(RoutingTable table, string id)
    {
        if (table.Routes.TryGetValue(id, out var route))
            return new(id, "model", route.CreateTimeUnix, route.Project, route.ContextLength);
        return table.Adapters.TryGetValue(id, out var parent)
            ? new(id, "model", parent.CreateTimeUnix, parent.Project, parent.ContextLength, parent.DeploymentId)
            : null;
    }

    private static Task AnswerAsync<TRequest>(
        HttpContext context,
        string operation,
        Func<TRequest, string, CompletionCall> read,
        Func<CompletionCall, HttpResponse, CancellationToken, Task> run) =>
        AnswerAsync<TRequest>(
            context, operation, (request, cancellation) => run(read(request, CallerIdentity.TenantOf(context)), context.Response, cancellation));

    private static async Task AnswerAsync<TRequest>(HttpContext context, string operation, Func<TRequest, CancellationToken, Task> answerAsync)
    {
        var cancellation = context.RequestAborted;
        long started = Stopwatch.GetTimestamp();
        int status = StatusCodes.Status200OK;
        try
        {
            var request = await JsonSerializer.DeserializeAsync<TRequest>(context.Request.Body, OpenAiJson.Options, cancellation)
                ?? throw new JsonException("found null");
            await answerAsync(request, cancellation);
        }
        catch (Exception e) when (cancellation.IsCancellationRequested && e is OperationCanceledException or RpcException or IOException)
        {
            // The client left; the replica has been told through the cancelled call.
            status = StatusCodes.Status499ClientClosedRequest;
        }
        catch (Exception e)
        {
            var log = context.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger("Platform.Gateway.OpenAi");
            var answer = OpenAiErrors.Of(e);
            if (answer is null)
            {
                LogFault(log, e, context.Request.Path);
                answer = new OpenAiErrors.Answer(
                    500, new ErrorBody(new ErrorDetail("The gateway failed; its log says why.", "server_error", null, "internal")));
            }
            status = answer.Status;
            if (!context.Response.HasStarted)
                await OpenAiErrors.WriteAsync(context.Response, answer, cancellation);
            else
                await new EventStream(context.Response).WriteAsync(answer.Body, cancellation);
        }
        finally
        {
            GatewayMetrics.Request(operation, status, Stopwatch.GetElapsedTime(started));
        }
    }

    [LoggerMessage(1101, LogLevel.Error, "{Path} failed")]
    private static partial void LogFault(ILogger logger, Exception exception, string path);
}
