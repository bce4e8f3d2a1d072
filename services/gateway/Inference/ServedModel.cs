using Platform.Internal.V1;
using Platform.Text;
using Platform.Text.Templates;
using Platform.Text.Tokenization;

namespace Platform.Gateway.Inference;

/// <summary>A deployment with what the gateway needs to turn text into tokens: its tokenizer and its chat template.</summary>
public sealed class ServedModel
{
    private readonly TokenizerDirectory _tokenizer;
    private readonly ChatTemplate _template;

    private ServedModel(DeploymentRoute route, TokenizerDirectory tokenizer, ChatTemplate template)
    {
        Route = route;
        _tokenizer = tokenizer;
        _template = template;
    }

    /// <summary>Where it is served and with which defaults.</summary>
    public DeploymentRoute Route { get; private init; }

    /// <summary>Adapter that requests use; empty for the model itself.</summary>
    public string Adapter { get; private init; } = "";

    /// <summary>The model name of requests and answers.</summary>
    public string Name => Adapter.Length > 0 ? Adapter : Route.DeploymentId;

    /// <summary>The tokenizer.</summary>
    public ITextTokenizer Tokenizer => _tokenizer.Tokenizer;

    /// <summary>Reads tokenizer and template from the route's model directory.</summary>
    /// <exception cref="TokenizerFormatException">A tokenizer file is damaged or not supported.</exception>
    /// <exception cref="ChatTemplateException">The template uses what is not supported.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static ServedModel Open(DeploymentRoute route)
    {
        var tokenizer = TokenizerDirectory.Open(route.ModelPath);
        string? source = route.Generation?.ChatTemplate is { Length: > 0 } replaced ? replaced : tokenizer.Config.ChatTemplate;
        return new ServedModel(route, tokenizer, source is null ? ChatTemplate.PlainCompletion : ChatTemplate.Parse(source));
    }

    /// <summary>The same model at its current route.</summary>
    public ServedModel At(DeploymentRoute route) => new(route, _tokenizer, _template);

    /// <summary>The same model with one of its adapters.</summary>
    public ServedModel With(string adapter) => adapter == Adapter ? this : new(Route, _tokenizer, _template) { Adapter = adapter };

    /// <summary>Tokens of a plain prompt.</summary>
    public IReadOnlyList<int> EncodePrompt(string prompt) => Tokenizer.Encode(prompt, EncodeOptions.AddSpecialTokens);

    /// <summary>Tokens of a conversation, rendered with the model's template up to where the assistant speaks.</summary>
    /// <exception cref="ChatTemplateRefusedException">The template refuses the conversation.</exception>
    /// <exception cref="ChatTemplateException">The template fails on it.</exception>
    public IReadOnlyList<int> EncodeChat(IReadOnlyList<ChatMessage> messages)
    {
        string text = _template.Render(ChatTemplateInput.Of(messages) with
        {
            BeginOfSequenceToken = _tokenizer.Config.BeginOfSequenceToken ?? "",
            EndOfSequenceToken = _tokenizer.Config.EndOfSequenceToken ?? "",
        });
        return Tokenizer.Encode(text, EncodeOptions.ParseSpecialTokens);
    }
}
