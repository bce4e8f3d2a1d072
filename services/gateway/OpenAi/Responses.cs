using System.Text;
using System.Text.Json;
using Grpc.Core;
using Platform.Core.Validation;
using Platform.Gateway.Inference;
using Platform.Hosting.Errors;

namespace Platform.Gateway.OpenAi;

/// <summary><c>POST /v1/responses</c> (OpenAI's Responses API): one message of text, whole or as events. Nothing is stored.</summary>
public sealed class Responses(InferencePipeline pipeline, TimeProvider time)
{
    private static readonly object PlainText = new { format = new { type = "text" } };

    /// <summary>Answers a request.</summary>
    /// <exception cref="InvalidRequestException">Everything that is wrong with it.</exception>
    public async Task RunAsync(ResponseRequest request, string tenant, HttpResponse http, CancellationToken cancellation)
    {
        var violations = new List<Violation>();
        var format = ResponseReader.Format(request.Text, violations);
        var sampling = SamplingReader.Read(request with { MaxTokens = request.MaxOutputTokens ?? request.MaxTokens, ResponseFormat = format ?? request.ResponseFormat }, violations);
        ResponseReader.Refuse(request, violations);
        var messages = ResponseReader.Messages(request, violations);
        if (violations.Count > 0)
            throw new InvalidRequestException([.. violations.Select(violation => violation.Field == "max_tokens" ? violation with { Field = "max_output_tokens" } : violation)]);
        var model = pipeline.Find(request.Model);
        var prompt = model.EncodeChat(messages);
        sampling = InferencePipeline.WithDefaults(sampling, model, prompt.Count);
        var run = new CompletionRun(pipeline, new CompletionCall(model, [prompt], sampling, request.Stream, true, tenant));
        var begun = new ResponseBody
        {
            Id = $"resp_{Guid.NewGuid():N}",
            CreatedAt = time.GetUtcNow().ToUnixTimeSeconds(),
            Status = "in_progress",
            Instructions = request.Instructions,
            MaxOutputTokens = request.MaxOutputTokens,
            Model = model.Name,
            Temperature = sampling.HasTemperature ? sampling.Temperature : 1,
            TopP = sampling.HasTopP ? sampling.TopP : 1,
            Text = request.Text?.Format is { ValueKind: JsonValueKind.Object } given ? new { format = given } : PlainText,
            Metadata = request.Metadata is { ValueKind: JsonValueKind.Object } metadata ? metadata : new { },
        };
        if (request.Stream)
        {
            await StreamAsync(begun, run, new ResponseEvents(http), cancellation);
            return;
        }

        var (text, reason) = (new StringBuilder(), "stop");
        await foreach (var delta in run.DeltasAsync(cancellation))
        {
            text.Append(delta.Text);
            reason = delta.FinishReason ?? reason;
        }

        var ended = End(begun, MessageId(), text.ToString(), reason, run.Usage);
        // What fails before its first event has a status of its own, and so has what fails here.
        if (ended.Error is { } error)
            throw new UnavailableException("ENGINE_FAILED", error.Message);
        await http.WriteAsJsonAsync(ended, OpenAiJson.Options, cancellation);
    }

    private static async Task StreamAsync(ResponseBody begun, CompletionRun run, ResponseEvents events, CancellationToken cancellation)
    {
        var id = MessageId();
        var (text, reason, failure) = (new StringBuilder(), "stop", (string?)null);
        var deltas = run.DeltasAsync(cancellation).GetAsyncEnumerator(cancellation);
        await using (deltas)
        {
            // The first piece comes before the first event, so that a refusal can still be a status.
            var more = await deltas.MoveNextAsync();
            await events.WriteAsync(new ResponseEvent("response.created", events.Next) { Response = begun }, cancellation);
            await events.WriteAsync(new ResponseEvent("response.in_progress", events.Next) { Response = begun }, cancellation);
            await events.WriteAsync(
                new ResponseEvent("response.output_item.added", events.Next) { OutputIndex = 0, Item = new OutputMessage(id, "in_progress", []) }, cancellation);
            await events.WriteAsync(
                new ResponseEvent("response.content_part.added", events.Next) { ItemId = id, OutputIndex = 0, ContentIndex = 0, Part = new OutputText("") }, cancellation);
            for (; more; more = await GoOnAsync())
            {
                reason = deltas.Current.FinishReason ?? reason;
                if (deltas.Current.Text.Length == 0)
                    continue;
                text.Append(deltas.Current.Text);
                await events.WriteAsync(
                    new ResponseEvent("response.output_text.delta", events.Next)
                    {
                        ItemId = id,
                        OutputIndex = 0,
                        ContentIndex = 0,
                        Delta = deltas.Current.Text,
                        Logprobs = [],
                    },
                    cancellation);
            }
        }

        var ended = End(begun, id, text.ToString(), reason, run.Usage, failure);
        var (message, whole) = (ended.Output[0], ended.Output[0].Content[0]);
        await events.WriteAsync(
            new ResponseEvent("response.output_text.done", events.Next) { ItemId = id, OutputIndex = 0, ContentIndex = 0, Text = whole.Text, Logprobs = [] },
            cancellation);
        await events.WriteAsync(
            new ResponseEvent("response.content_part.done", events.Next) { ItemId = id, OutputIndex = 0, ContentIndex = 0, Part = whole }, cancellation);
        await events.WriteAsync(new ResponseEvent("response.output_item.done", events.Next) { OutputIndex = 0, Item = message }, cancellation);
        await events.WriteAsync(new ResponseEvent($"response.{ended.Status}", events.Next) { Response = ended }, cancellation);

        // Once events have begun, a failure is one of them.
        async ValueTask<bool> GoOnAsync()
        {
            try
            {
                return await deltas.MoveNextAsync();
            }
            catch (Exception e) when (e is RpcException or PlatformException && !cancellation.IsCancellationRequested)
            {
                (reason, failure) = ("error", OpenAiErrors.Of(e)?.Body.Error.Message ?? e.Message);
                return false;
            }
        }
    }

    private static ResponseBody End(ResponseBody begun, string id, string text, string reason, CompletionUsage usage, string? failure = null)
    {
        var status = reason switch
        {
            "stop" => "completed",
            "length" => "incomplete",
            _ => "failed",
        };
        return begun with
        {
            Status = status,
            IncompleteDetails = status == "incomplete" ? new IncompleteDetails("max_output_tokens") : null,
            Error = status == "failed" ? new ResponseError("server_error", failure ?? "The replica could not finish the answer; its log says why.") : null,
            Output = [new OutputMessage(id, status == "completed" ? "completed" : "incomplete", [new OutputText(text)])],
            Usage = new ResponseUsage(
                usage.PromptTokens, usage.PromptTokensDetails ?? new PromptTokensDetails(0), usage.CompletionTokens, new ReasoningDetails(0), usage.TotalTokens),
        };
    }

    private static string MessageId() => $"msg_{Guid.NewGuid():N}";
}

/// <summary>Writes events that are named by their type, as the Responses API has them.</summary>
internal sealed class ResponseEvents(HttpResponse http)
{
    private readonly EventStream _events = new(http);
    private int _next;

    /// <summary>The next event's number.</summary>
    public int Next => _next++;

    /// <summary>Writes one event and sends it at once.</summary>
    public Task WriteAsync(ResponseEvent data, CancellationToken cancellation) => _events.WriteAsync(data.Type, data, cancellation);
}
