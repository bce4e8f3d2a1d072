using System.Text.Json.Nodes;

namespace Platform.Text.Templates;

/// <summary>A message of a conversation.</summary>
/// <param name="Role"><c>system</c>, <c>user</c>, <c>assistant</c> or what else the template knows.</param>
/// <param name="Content">Its text.</param>
public sealed record ChatMessage(string Role, string Content);

/// <summary>What a template is rendered with.</summary>
public sealed record ChatTemplateInput
{
    /// <summary>The messages: objects with <c>role</c>, <c>content</c> and what else the template knows.</summary>
    public required JsonArray Messages { get; init; }

    /// <summary>Whether to end with what opens the assistant's answer.</summary>
    public bool AddGenerationPrompt { get; init; } = true;

    /// <summary>Text of the token that begins a sequence; empty where the tokenizer has none.</summary>
    public string BeginOfSequenceToken { get; init; } = "";

    /// <summary>Text of the token that ends a sequence.</summary>
    public string EndOfSequenceToken { get; init; } = "";

    /// <summary>Descriptions of tools as JSON schemas; undefined for the template when null.</summary>
    public JsonArray? Tools { get; init; }

    /// <summary>Further variables of the template (<c>enable_thinking</c>, say).</summary>
    public JsonObject Variables { get; init; } = [];

    /// <summary>What templates that print a date take for now.</summary>
    public DateTimeOffset? Now { get; init; }

    /// <summary>An input of plain messages.</summary>
    public static ChatTemplateInput Of(IEnumerable<ChatMessage> messages) => new()
    {
        Messages = new JsonArray([.. messages.Select(message => new JsonObject { ["role"] = message.Role, ["content"] = message.Content })]),
    };
}

/// <summary>
/// A chat template: the part of Jinja that the templates of Hugging Face models use, with <c>trim_blocks</c> and
/// <c>lstrip_blocks</c> on, as transformers renders them. What is not supported is an error that names the construct
/// and the line. A rendering may take 10^6 steps and put out 2^20 characters. Safe for use by any number of threads.
/// </summary>
public sealed class ChatTemplate
{
    /// <summary>Longest template, in characters.</summary>
    public const int MaxSourceChars = 1 << 20;

    private readonly List<Statement> _statements;

    private ChatTemplate(string source, List<Statement> statements)
    {
        Source = source;
        _statements = statements;
    }

    /// <summary>
    /// The template for models the platform trains for chat: ChatML, as the Qwen family uses it. Every message stands
    /// between <c>&lt;|im_start|&gt;role</c> and <c>&lt;|im_end|&gt;</c>.
    /// </summary>
    public static ChatTemplate ChatMl { get; } = Parse(
        """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""");

    /// <summary>
    /// The template for models that have none, which are plain language models: the contents of the messages, one per
    /// line, for the model to go on from. Roles are left out, because such a model has never seen them.
    /// </summary>
    public static ChatTemplate PlainCompletion { get; } = Parse(
        """{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}""");

    /// <summary>The template's text.</summary>
    public string Source { get; }

    /// <summary>Parses a template.</summary>
    /// <exception cref="ChatTemplateException">It is malformed or uses a construct that is not supported.</exception>
    public static ChatTemplate Parse(string source)
    {
        if (source.Length > MaxSourceChars)
        {
            throw new ChatTemplateException(1, $"the template has {source.Length} characters; at most {MaxSourceChars} are allowed");
        }
        return new ChatTemplate(source, new StatementParser(TemplateScanner.Scan(source)).Parse());
    }

    /// <summary>Renders a conversation. The result is to be encoded with special tokens parsed and none added.</summary>
    /// <exception cref="ChatTemplateRefusedException">The template refuses the conversation, with its reason.</exception>
    /// <exception cref="ChatTemplateException">The template fails on it, or exceeds a limit.</exception>
    public string Render(ChatTemplateInput input) => new Renderer().Render(_statements, Globals.For(input));
}
