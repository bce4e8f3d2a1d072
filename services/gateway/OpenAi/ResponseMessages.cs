using System.Text.Json;
using System.Text.Json.Serialization;

namespace Platform.Gateway.OpenAi;

/// <summary>Body of <c>POST /v1/responses</c>.</summary>
public sealed record ResponseRequest : SamplingRequest
{
    /// <summary>A string, or items of a conversation.</summary>
    public JsonElement? Input { get; init; }

    /// <summary>What the model is told before the conversation.</summary>
    public string? Instructions { get; init; }

    /// <summary>Longest output in tokens.</summary>
    public int? MaxOutputTokens { get; init; }

    /// <summary>Responses are not stored, so none can be gone on from.</summary>
    public string? PreviousResponseId { get; init; }

    /// <summary>Not available: conversations are not stored.</summary>
    public JsonElement? Conversation { get; init; }

    /// <summary>Format of the text.</summary>
    public ResponseTextOptions? Text { get; init; }

    /// <summary>Not available in this release.</summary>
    public JsonElement? Tools { get; init; }

    /// <summary>Not available: an answer is made while its caller waits.</summary>
    public bool? Background { get; init; }

    /// <summary>Given back as it came.</summary>
    public JsonElement? Metadata { get; init; }

    /// <summary><c>disabled</c>: an input that is too long is refused.</summary>
    public string? Truncation { get; init; }
}

/// <summary><c>text</c> of a response.</summary>
/// <param name="Format"><c>text</c>, <c>json_object</c>, or <c>json_schema</c> with <c>schema</c>.</param>
public sealed record ResponseTextOptions(JsonElement? Format = null);

/// <summary>An answer as the Responses API has it.</summary>
public sealed record ResponseBody
{
    /// <summary>Its id; responses are not stored, so it names nothing later.</summary>
    public required string Id { get; init; }

    /// <summary><c>response</c>.</summary>
    public string Object { get; init; } = "response";

    /// <summary>Unix seconds.</summary>
    public required long CreatedAt { get; init; }

    /// <summary>in_progress, completed, incomplete or failed.</summary>
    public required string Status { get; init; }

    /// <summary>Why it failed.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public ResponseError? Error { get; init; }

    /// <summary>Why it is incomplete.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public IncompleteDetails? IncompleteDetails { get; init; }

    /// <summary>As in the request.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? Instructions { get; init; }

    /// <summary>As in the request.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public int? MaxOutputTokens { get; init; }

    /// <summary>Deployment id, or the name of an adapter.</summary>
    public required string Model { get; init; }

    /// <summary>One message, once there is any.</summary>
    public IReadOnlyList<OutputMessage> Output { get; init; } = [];

    /// <summary>False.</summary>
    public bool ParallelToolCalls { get; init; }

    /// <summary>Null.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? PreviousResponseId { get; init; }

    /// <summary>False: responses are not stored.</summary>
    public bool Store { get; init; }

    /// <summary>As used.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public double? Temperature { get; init; }

    /// <summary>As used.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public double? TopP { get; init; }

    /// <summary>As in the request.</summary>
    public required object Text { get; init; }

    /// <summary><c>none</c>.</summary>
    public string ToolChoice { get; init; } = "none";

    /// <summary>Empty.</summary>
    public IReadOnlyList<string> Tools { get; init; } = [];

    /// <summary><c>disabled</c>.</summary>
    public string Truncation { get; init; } = "disabled";

    /// <summary>Token counts once it ended.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public ResponseUsage? Usage { get; init; }

    /// <summary>As in the request.</summary>
    public required object Metadata { get; init; }
}

/// <summary>Why a response failed.</summary>
/// <param name="Code"><c>server_error</c> or <c>rate_limit_exceeded</c>.</param>
/// <param name="Message">What happened.</param>
public sealed record ResponseError(string Code, string Message);

/// <summary>Why a response is incomplete.</summary>
/// <param name="Reason"><c>max_output_tokens</c>.</param>
public sealed record IncompleteDetails(string Reason);

/// <summary>A message of the assistant.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Status">in_progress, completed or incomplete.</param>
/// <param name="Content">One text, once there is any.</param>
public sealed record OutputMessage(string Id, string Status, IReadOnlyList<OutputText> Content)
{
    /// <summary><c>message</c>.</summary>
    public string Type { get; init; } = "message";

    /// <summary><c>assistant</c>.</summary>
    public string Role { get; init; } = "assistant";
}

/// <summary>Text of a message.</summary>
/// <param name="Text">Text.</param>
public sealed record OutputText(string Text)
{
    /// <summary><c>output_text</c>.</summary>
    public string Type { get; init; } = "output_text";

    /// <summary>Empty.</summary>
    public IReadOnlyList<string> Annotations { get; init; } = [];
}

/// <summary>Token counts.</summary>
/// <param name="InputTokens">Tokens of the prompt.</param>
/// <param name="InputTokensDetails">How many of them came from the prefix cache.</param>
/// <param name="OutputTokens">Tokens of the answer.</param>
/// <param name="OutputTokensDetails">How many of them were thoughts: none.</param>
/// <param name="TotalTokens">Both.</param>
public sealed record ResponseUsage(
    int InputTokens, PromptTokensDetails InputTokensDetails, int OutputTokens, ReasoningDetails OutputTokensDetails, int TotalTokens);

/// <summary>Details of an answer's tokens.</summary>
/// <param name="ReasoningTokens">0.</param>
public sealed record ReasoningDetails(int ReasoningTokens);

/// <summary>One event of a streamed response; members that its type does not have are left out.</summary>
/// <param name="Type">Type, such as <c>response.output_text.delta</c>.</param>
/// <param name="SequenceNumber">Number in the stream, from 0.</param>
public sealed record ResponseEvent(string Type, int SequenceNumber)
{
    /// <summary>The response so far.</summary>
    public ResponseBody? Response { get; init; }

    /// <summary>Message it is about.</summary>
    public string? ItemId { get; init; }

    /// <summary>Place of the message in the output.</summary>
    public int? OutputIndex { get; init; }

    /// <summary>Place of the text in the message.</summary>
    public int? ContentIndex { get; init; }

    /// <summary>The message so far.</summary>
    public OutputMessage? Item { get; init; }

    /// <summary>The text so far.</summary>
    public OutputText? Part { get; init; }

    /// <summary>What is added.</summary>
    public string? Delta { get; init; }

    /// <summary>The whole text.</summary>
    public string? Text { get; init; }

    /// <summary>Empty; only where a text is added or done.</summary>
    public IReadOnlyList<string>? Logprobs { get; init; }
}
