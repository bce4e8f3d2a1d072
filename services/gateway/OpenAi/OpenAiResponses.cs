using System.Text.Json.Serialization;

namespace Platform.Gateway.OpenAi;

/// <summary>Answer to a chat completion, or one chunk of it.</summary>
/// <param name="Id">Id of the completion, the same in all its chunks.</param>
/// <param name="Object"><c>chat.completion</c> or <c>chat.completion.chunk</c>.</param>
/// <param name="Created">Unix seconds.</param>
/// <param name="Model">Deployment id.</param>
/// <param name="Choices">Choices; empty in the chunk that carries the usage.</param>
/// <param name="Usage">Token counts; in a stream only when asked for.</param>
public sealed record ChatCompletion(
    string Id, string Object, long Created, string Model, IReadOnlyList<ChatChoice> Choices, CompletionUsage? Usage);

/// <summary>One choice of a chat completion.</summary>
/// <param name="Index">From 0.</param>
/// <param name="Message">The whole message; absent in chunks.</param>
/// <param name="Delta">What a chunk adds; absent outside streams.</param>
/// <param name="FinishReason">stop or length once it ended.</param>
public sealed record ChatChoice(int Index, ChatAnswer? Message, ChatAnswer? Delta, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

/// <summary>A message or a piece of one.</summary>
/// <param name="Role">assistant; in a stream only in the first chunk.</param>
/// <param name="Content">Text.</param>
public sealed record ChatAnswer(string? Role, string? Content);

/// <summary>Answer to a completion, or one chunk of it.</summary>
/// <param name="Id">Id of the completion, the same in all its chunks.</param>
/// <param name="Object"><c>text_completion</c>.</param>
/// <param name="Created">Unix seconds.</param>
/// <param name="Model">Deployment id.</param>
/// <param name="Choices">Choices; empty in the chunk that carries the usage.</param>
/// <param name="Usage">Token counts; in a stream only when asked for.</param>
public sealed record TextCompletion(
    string Id, string Object, long Created, string Model, IReadOnlyList<TextChoice> Choices, CompletionUsage? Usage);

/// <summary>One choice of a completion.</summary>
/// <param name="Index">From 0.</param>
/// <param name="Text">Text, or what a chunk adds.</param>
/// <param name="FinishReason">stop or length once it ended.</param>
public sealed record TextChoice(int Index, string Text, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

/// <summary>Token counts.</summary>
/// <param name="PromptTokens">Tokens of the prompts.</param>
/// <param name="CompletionTokens">Tokens of all choices.</param>
/// <param name="TotalTokens">Both.</param>
/// <param name="PromptTokensDetails">How many prompt tokens came from the prefix cache.</param>
public sealed record CompletionUsage(
    int PromptTokens, int CompletionTokens, int TotalTokens, PromptTokensDetails? PromptTokensDetails);

/// <summary>Details of the prompt's tokens.</summary>
/// <param name="CachedTokens">Tokens that the prefix cache held.</param>
public sealed record PromptTokensDetails(int CachedTokens);

/// <summary>A served model.</summary>
/// <param name="Id">Deployment id, or the name of an adapter.</param>
/// <param name="Object"><c>model</c>.</param>
/// <param name="Created">Unix seconds.</param>
/// <param name="OwnedBy">Project.</param>
/// <param name="MaxModelLen">Longest context in tokens, as vLLM reports it.</param>
/// <param name="Parent">Of an adapter: the model that it is served beside.</param>
public sealed record ModelCard(string Id, string Object, long Created, string OwnedBy, int MaxModelLen, string? Parent = null);

/// <summary>All served models.</summary>
/// <param name="Object"><c>list</c>.</param>
/// <param name="Data">Models.</param>
public sealed record ModelList(string Object, IReadOnlyList<ModelCard> Data);

/// <summary>Any error.</summary>
/// <param name="Error">What happened.</param>
public sealed record ErrorBody(ErrorDetail Error);

/// <summary>An error as OpenAI's clients read it.</summary>
/// <param name="Message">What was found and what is allowed.</param>
/// <param name="Type">invalid_request_error, not_found_error, rate_limit_error, server_error…</param>
/// <param name="Param">Offending field, if it is one.</param>
/// <param name="Code">Machine-readable reason.</param>
public sealed record ErrorDetail(
    string Message,
    string Type,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Param,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Code);
