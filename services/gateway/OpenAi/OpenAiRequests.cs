using System.Text.Json;
using System.Text.Json.Serialization;

namespace Platform.Gateway.OpenAi;

/// <summary>
/// Fields that <c>/v1/chat/completions</c> and <c>/v1/completions</c> share, as the OpenAI API reference defines them, and
/// the extensions that vLLM's clients know (<c>top_k</c>, <c>min_p</c>, <c>repetition_penalty</c>, <c>ignore_eos</c>).
/// </summary>
public abstract record SamplingRequest
{
    /// <summary>Deployment id.</summary>
    public string? Model { get; init; }

    /// <summary>Longest output in tokens.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>0 is greedy.</summary>
    public double? Temperature { get; init; }

    /// <summary>Nucleus mass.</summary>
    public double? TopP { get; init; }

    /// <summary>Candidates kept.</summary>
    public int? TopK { get; init; }

    /// <summary>Least probability relative to the likeliest candidate.</summary>
    public double? MinP { get; init; }

    /// <summary>Choices.</summary>
    public int? N { get; init; }

    /// <summary>Answer with server-sent events.</summary>
    public bool Stream { get; init; }

    /// <summary>What a stream carries besides text.</summary>
    public StreamOptions? StreamOptions { get; init; }

    /// <summary>A string or up to eight.</summary>
    public JsonElement? Stop { get; init; }

    /// <summary>Seed of the sampling.</summary>
    public long? Seed { get; init; }

    /// <summary>Penalty on tokens that occurred.</summary>
    public double? PresencePenalty { get; init; }

    /// <summary>Penalty on tokens by how often they occurred.</summary>
    public double? FrequencyPenalty { get; init; }

    /// <summary>Divisor of the logits of tokens that occurred.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>Added to the logits, by token id.</summary>
    public IReadOnlyDictionary<string, double>? LogitBias { get; init; }

    /// <summary>Go on after an end-of-text token.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary><c>text</c>, <c>json_object</c>, or <c>json_schema</c> with a schema that the output satisfies.</summary>
    public JsonElement? ResponseFormat { get; init; }

    /// <summary>What the output must match: <c>json</c>, <c>regex</c> or <c>choice</c> (vLLM's extension).</summary>
    public JsonElement? StructuredOutputs { get; init; }

    /// <summary>Older name of <c>structured_outputs.json</c>.</summary>
    public JsonElement? GuidedJson { get; init; }

    /// <summary>Older name of <c>structured_outputs.regex</c>.</summary>
    public string? GuidedRegex { get; init; }

    /// <summary>Older name of <c>structured_outputs.choice</c>.</summary>
    public JsonElement? GuidedChoice { get; init; }

    /// <summary>Identity of the end user; accepted and not used.</summary>
    public string? User { get; init; }
}

/// <summary><c>stream_options</c>.</summary>
/// <param name="IncludeUsage">Send a last chunk with the token counts.</param>
public sealed record StreamOptions(bool IncludeUsage = false);

/// <summary>Body of <c>POST /v1/chat/completions</c>.</summary>
public sealed record ChatCompletionRequest : SamplingRequest
{
    /// <summary>The conversation so far.</summary>
    public IReadOnlyList<ChatCompletionMessage>? Messages { get; init; }

    /// <summary>Newer name of <c>max_tokens</c>.</summary>
    public int? MaxCompletionTokens { get; init; }

    /// <summary>Whether to return log probabilities.</summary>
    public bool? Logprobs { get; init; }

    /// <summary>Alternatives per token.</summary>
    public int? TopLogprobs { get; init; }

    /// <summary>Not available in this release.</summary>
    public JsonElement? Tools { get; init; }
}

/// <summary>A message of a conversation.</summary>
/// <param name="Role">system, developer, user, assistant or tool.</param>
/// <param name="Content">A string, or an array of <c>{"type":"text","text":…}</c> parts.</param>
public sealed record ChatCompletionMessage(string? Role, JsonElement? Content);

/// <summary>Body of <c>POST /v1/completions</c>.</summary>
public sealed record CompletionRequest : SamplingRequest
{
    /// <summary>A string, token ids, or an array of either.</summary>
    public JsonElement? Prompt { get; init; }

    /// <summary>Alternatives per token.</summary>
    public int? Logprobs { get; init; }

    /// <summary>Not available in this release.</summary>
    public bool Echo { get; init; }

    /// <summary>Not available: the models only continue text.</summary>
    public string? Suffix { get; init; }

    /// <summary>Not available in this release.</summary>
    public int? BestOf { get; init; }
}

/// <summary>JSON as the OpenAI API writes it.</summary>
public static class OpenAiJson
{
    /// <summary>Snake case; absent members are left out; unknown members are ignored.</summary>
    public static JsonSerializerOptions Options { get; } = new(JsonSerializerDefaults.Web)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };
}
