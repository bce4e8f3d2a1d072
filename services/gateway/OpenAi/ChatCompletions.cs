using System.Text;
using System.Text.Json;
using Platform.Core.Validation;
using Platform.Gateway.Inference;
using Platform.Hosting.Errors;
using Platform.Text.Templates;

namespace Platform.Gateway.OpenAi;

/// <summary><c>POST /v1/chat/completions</c>.</summary>
public sealed class ChatCompletions(InferencePipeline pipeline, TimeProvider time)
{
    private static readonly string[] Roles = ["system", "developer", "user", "assistant", "tool"];

    /// <summary>Reads, checks, renders and tokenizes a request.</summary>
    /// <exception cref="InvalidRequestException">Everything that is wrong with it.</exception>
    public CompletionCall Read(ChatCompletionRequest request, string tenant)
    {
        var violations = new List<Violation>();
        var sampling = SamplingReader.Read(request with { MaxTokens = request.MaxCompletionTokens ?? request.MaxTokens }, violations);
        if (request.Tools is { ValueKind: JsonValueKind.Array } tools && tools.GetArrayLength() > 0)
            violations.Add(new Violation("tools", "Tool calls are not available in this release."));
        if (request.Logprobs is true || request.TopLogprobs > 0)
            violations.Add(new Violation("logprobs", "Log probabilities are not available through this endpoint in this release."));
        var messages = ReadMessages(request.Messages, violations);
        if (violations.Count > 0)
            throw new InvalidRequestException(violations);
        var model = pipeline.Find(request.Model);
        var prompt = model.EncodeChat(messages);
        return new CompletionCall(
            model,
            [prompt],
            InferencePipeline.WithDefaults(sampling, model, prompt.Count),
            request.Stream,
            request.StreamOptions?.IncludeUsage ?? false,
            tenant);
    }

    /// <summary>Runs a call and writes the answer.</summary>
    public async Task RunAsync(CompletionCall call, HttpResponse response, CancellationToken cancellation)
    {
        var run = new CompletionRun(pipeline, call);
        string id = $"chatcmpl-{Guid.NewGuid():N}";
        long created = time.GetUtcNow().ToUnixTimeSeconds();
        string model = call.Model.Name;
        if (call.Stream)
        {
            var events = new EventStream(response);
            var introduced = new HashSet<int>();
            ChatCompletion Chunk(IReadOnlyList<ChatChoice> choices, CompletionUsage? usage) =>
                new(id, "chat.completion.chunk", created, model, choices, usage);
            await foreach (var delta in run.DeltasAsync(cancellation))
            {
                string? role = introduced.Add(delta.Choice) ? "assistant" : null;
                var answer = new ChatAnswer(role, delta.Text.Length > 0 || role is not null ? delta.Text : null);
                await events.WriteAsync(Chunk([new ChatChoice(delta.Choice, null, answer, delta.FinishReason)], null), cancellation);
            }
            if (call.IncludeUsage)
                await events.WriteAsync(Chunk([], run.Usage), cancellation);
            await events.CompleteAsync(cancellation);
            return;
        }

        var texts = new SortedDictionary<int, (StringBuilder Text, string? Reason)>();
        await foreach (var delta in run.DeltasAsync(cancellation))
        {
            var sofar = texts.TryGetValue(delta.Choice, out var found) ? found : (new StringBuilder(), null);
            texts[delta.Choice] = (sofar.Item1.Append(delta.Text), delta.FinishReason ?? sofar.Item2);
        }
        var choices = texts.Select(entry =>
            new ChatChoice(entry.Key, new ChatAnswer("assistant", entry.Value.Text.ToString()), null, entry.Value.Reason));
        await response.WriteAsJsonAsync(
            new ChatCompletion(id, "chat.completion", created, model, [.. choices], run.Usage), OpenAiJson.Options, cancellation);
    }

    private static List<ChatMessage> ReadMessages(IReadOnlyList<ChatCompletionMessage>? messages, List<Violation> violations)
    {
        if (messages is not { Count: > 0 })
        {
            violations.Add(new Violation("messages", "Expected at least one message, found none."));
            return [];
        }
        var read = new List<ChatMessage>();
        for (int i = 0; i < messages.Count; i++)
        {
            string field = $"messages[{i}]";
            string? role = messages[i]?.Role;
            if (role is null || !Roles.Contains(role))
                violations.Add(new Violation($"{field}.role", $"Found '{role}'; allowed are {string.Join(", ", Roles)}."));
            string? content = ReadContent(messages[i]?.Content, $"{field}.content", violations);
            if (role is not null && content is not null)
                read.Add(new ChatMessage(role == "developer" ? "system" : role, content));
        }
        return read;
    }

    private static string? ReadContent(JsonElement? content, string field, List<Violation> violations)
    {
        switch (content)
        {
            case { ValueKind: JsonValueKind.String } text:
                return text.GetString();
            case { ValueKind: JsonValueKind.Array } parts:
                var all = new StringBuilder();
                foreach (var part in parts.EnumerateArray())
                {
                    if (part.ValueKind == JsonValueKind.Object
                        && part.TryGetProperty("type", out var type) && type.ValueKind == JsonValueKind.String && type.GetString() == "text"
                        && part.TryGetProperty("text", out var piece) && piece.ValueKind == JsonValueKind.String)
                    {
                        all.Append(piece.GetString());
                        continue;
                    }
                    violations.Add(new Violation(field, "Only parts of type 'text' are allowed; the models read text."));
                    return null;
                }
                return all.ToString();
            default:
                violations.Add(new Violation(field, "Expected a string or an array of text parts."));
                return null;
        }
    }
}
