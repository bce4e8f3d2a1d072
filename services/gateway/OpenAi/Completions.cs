using System.Text;
using System.Text.Json;
using Platform.Core.Validation;
using Platform.Gateway.Inference;
using Platform.Hosting.Errors;

namespace Platform.Gateway.OpenAi;

/// <summary><c>POST /v1/completions</c>.</summary>
public sealed class Completions(InferencePipeline pipeline, TimeProvider time)
{
    private const int MostPrompts = 64;

    /// <summary>Reads, checks and tokenizes a request.</summary>
    /// <exception cref="InvalidRequestException">Everything that is wrong with it.</exception>
    public CompletionCall Read(CompletionRequest request, string tenant)
    {
        var violations = new List<Violation>();
        var sampling = SamplingReader.Read(request, violations);
        if (request.Echo)
            violations.Add(new Violation("echo", "Echoing the prompt is not available in this release."));
        if (!string.IsNullOrEmpty(request.Suffix))
            violations.Add(new Violation("suffix", "Insertion is not available: the models continue text."));
        if (request.BestOf is > 1)
            violations.Add(new Violation("best_of", "Only 1 is available in this release."));
        if (request.Logprobs is > 0)
            violations.Add(new Violation("logprobs", "Log probabilities are not available through this endpoint in this release."));
        var prompts = ReadPrompts(request.Prompt, "prompt", violations);
        if (violations.Count > 0)
            throw new InvalidRequestException(violations);
        var model = pipeline.Find(request.Model);
        IReadOnlyList<int>[] tokens = [.. prompts.Select(prompt => prompt.Tokens ?? model.EncodePrompt(prompt.Text ?? ""))];
        return new CompletionCall(
            model,
            tokens,
            InferencePipeline.WithDefaults(sampling, model, tokens.Max(prompt => prompt.Count)),
            request.Stream,
            request.StreamOptions?.IncludeUsage ?? false,
            tenant);
    }

    /// <summary>Runs a call and writes the answer.</summary>
    public async Task RunAsync(CompletionCall call, HttpResponse response, CancellationToken cancellation)
    {
        var run = new CompletionRun(pipeline, call);
        string id = $"cmpl-{Guid.NewGuid():N}";
        long created = time.GetUtcNow().ToUnixTimeSeconds();
        TextCompletion Body(IReadOnlyList<TextChoice> choices, CompletionUsage? usage) =>
            new(id, "text_completion", created, call.Model.Name, choices, usage);
        if (call.Stream)
        {
            var events = new EventStream(response);
            await foreach (var delta in run.DeltasAsync(cancellation))
                await events.WriteAsync(Body([new TextChoice(delta.Choice, delta.Text, delta.FinishReason)], null), cancellation);
            if (call.IncludeUsage)
                await events.WriteAsync(Body([], run.Usage), cancellation);
            await events.CompleteAsync(cancellation);
            return;
        }

        var texts = new SortedDictionary<int, (StringBuilder Text, string? Reason)>();
        await foreach (var delta in run.DeltasAsync(cancellation))
        {
            var sofar = texts.TryGetValue(delta.Choice, out var found) ? found : (new StringBuilder(), null);
            texts[delta.Choice] = (sofar.Item1.Append(delta.Text), delta.FinishReason ?? sofar.Item2);
        }
        var choices = texts.Select(entry => new TextChoice(entry.Key, entry.Value.Text.ToString(), entry.Value.Reason));
        await response.WriteAsJsonAsync(Body([.. choices], run.Usage), OpenAiJson.Options, cancellation);
    }

    internal static List<(string? Text, IReadOnlyList<int>? Tokens)> ReadPrompts(JsonElement? prompt, string field, List<Violation> violations)
    {
        switch (prompt)
        {
            case { ValueKind: JsonValueKind.String } text:
                return [(text.GetString(), null)];
            case { ValueKind: JsonValueKind.Array } array when IsTokens(array):
                return [(null, Tokens(array))];
            case { ValueKind: JsonValueKind.Array } array when array.GetArrayLength() is > 0 and <= MostPrompts
                && array.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String || IsTokens(item)):
                return
                [
                    .. array.EnumerateArray().Select<JsonElement, (string?, IReadOnlyList<int>?)>(item =>
                        item.ValueKind == JsonValueKind.String ? (item.GetString(), null) : (null, Tokens(item))),
                ];
            default:
                violations.Add(new Violation(field, $"Expected a string, an array of token ids, or an array of at most {MostPrompts} of either."));
                return [];
        }
    }

    private static bool IsTokens(JsonElement array) =>
        array.ValueKind == JsonValueKind.Array && array.GetArrayLength() > 0
        && array.EnumerateArray().All(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int id) && id >= 0);

    private static int[] Tokens(JsonElement array) => [.. array.EnumerateArray().Select(item => item.GetInt32())];
}
