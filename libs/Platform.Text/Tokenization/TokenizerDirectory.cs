namespace Platform.Text.Tokenization;

/// <summary>A tokenizer with its configuration, as a Hugging Face model directory holds them.</summary>
/// <param name="Tokenizer">The tokenizer.</param>
/// <param name="Model">What it was made of.</param>
/// <param name="Config">Its configuration; with nothing set where the directory has no <c>tokenizer_config.json</c>.</param>
public sealed record TokenizerDirectory(ITextTokenizer Tokenizer, BpeModel Model, TokenizerConfig Config)
{
    private const string TemplateFileName = "chat_template.jinja";

    /// <summary>Whether a directory has a <c>tokenizer.json</c>.</summary>
    public static bool Exists(string directory) => File.Exists(Path.Combine(directory, TokenizerJson.FileName));

    /// <summary>
    /// Opens <c>tokenizer.json</c> and, where they exist, <c>tokenizer_config.json</c> and <c>chat_template.jinja</c>
    /// (which newer exports use instead of the configuration's <c>chat_template</c>).
    /// </summary>
    /// <exception cref="TokenizerFormatException">A file is damaged or not supported.</exception>
    /// <exception cref="IOException">A file cannot be read, or <c>tokenizer.json</c> is missing.</exception>
    public static TokenizerDirectory Open(string directory)
    {
        var model = TokenizerJson.ReadAny(Path.Combine(directory, TokenizerJson.FileName));
        var configPath = Path.Combine(directory, TokenizerConfig.FileName);
        var config = File.Exists(configPath) ? TokenizerConfig.Read(configPath) : new TokenizerConfig();
        var templatePath = Path.Combine(directory, TemplateFileName);
        if (File.Exists(templatePath))
        {
            config = config with { ChatTemplate = File.ReadAllText(templatePath) };
        }
        return new TokenizerDirectory(Create(configPath, model, config), model, config);
    }

    /// <summary>
    /// A directory for a tokenizer of the platform's own: sequences end with <c>&lt;|endoftext|&gt;</c> where the model
    /// has that token.
    /// </summary>
    /// <param name="model">The tokenizer.</param>
    /// <param name="chatTemplate">Its chat template, if it is to have one.</param>
    /// <param name="modelMaxLength">Longest sequence of the model, in tokens.</param>
    public static TokenizerDirectory ForOwn(ByteLevelBpeModel model, string? chatTemplate = null, long? modelMaxLength = null)
    {
        var end = model.AddedTokens.FirstOrDefault(token => token.Content == "<|endoftext|>")?.Content;
        var config = new TokenizerConfig { EndOfSequenceToken = end, PaddingToken = end, ChatTemplate = chatTemplate, ModelMaxLength = modelMaxLength };
        return new TokenizerDirectory(Create(TokenizerConfig.FileName, model, config), model, config);
    }

    /// <summary>Writes both files into an existing directory, over files of the same names.</summary>
    /// <exception cref="IOException">They cannot be written.</exception>
    public void Save(string directory)
    {
        File.WriteAllBytes(Path.Combine(directory, TokenizerJson.FileName), TokenizerJson.ToUtf8(Model));
        File.WriteAllBytes(Path.Combine(directory, TokenizerConfig.FileName), Config.ToUtf8(Model.AddedTokens));
    }

    private static ITextTokenizer Create(string configName, BpeModel model, TokenizerConfig config)
    {
        var begin = IdOf(configName, "bos_token", model, config.BeginOfSequenceToken);
        var end = IdOf(configName, "eos_token", model, config.EndOfSequenceToken);
        return model switch
        {
            ByteLevelBpeModel bytes => new ByteLevelBpeTokenizer(bytes, begin, end),
            MetaspaceBpeModel metaspace => new MetaspaceBpeTokenizer(metaspace, begin, end),
            _ => throw new InvalidOperationException($"There is no tokenizer of {model.GetType().Name}."),
        };
    }

    private static int? IdOf(string configName, string key, BpeModel model, string? content)
    {
        if (content is null)
        {
            return null;
        }
        return model.AddedTokens.FirstOrDefault(token => token.Content == content)?.Id
            ?? (model.Vocabulary.TryGetValue(content, out var id)
                ? id
                : throw new TokenizerFormatException(configName, key, $"the tokenizer has no token '{content}'"));
    }
}
