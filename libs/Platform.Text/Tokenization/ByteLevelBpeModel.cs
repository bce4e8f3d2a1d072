namespace Platform.Text.Tokenization;

/// <summary>A token that is not made by merging: matched as a whole in text.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">Its text.</param>
/// <param name="Special">Whether it controls the model and is left out of decoded text.</param>
public sealed record AddedToken(int Id, string Content, bool Special);

/// <summary>What is done to a text before it is cut into words.</summary>
public enum TextNormalization
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Unicode normalization form C.</summary>
    FormC,
}

/// <summary>
/// A byte-level BPE tokenizer as data: what a Hugging Face <c>tokenizer.json</c> of the GPT-2, Llama 3 and Qwen
/// families says. Tokens are spelled with the stand-ins of <see cref="ByteAlphabet"/>.
/// </summary>
public sealed record ByteLevelBpeModel : BpeModel
{
    /// <summary>Patterns that cut text into words (see <see cref="WordSplitter"/>).</summary>
    public IReadOnlyList<string> Splits { get; init; } = [SplitPatterns.Llama3];

    /// <summary>What is done to a text first.</summary>
    public TextNormalization Normalization { get; init; }

    /// <summary>
    /// A tokenizer of the 256 bytes, without merges, followed by special tokens.
    /// </summary>
    /// <param name="specialTokens">Texts of the special tokens; they get the ids from 256 on.</param>
    public static ByteLevelBpeModel Bytes(IReadOnlyList<string> specialTokens) => new()
    {
        Vocabulary = Enumerable.Range(0, 256).ToDictionary(value => ByteAlphabet.CharOf((byte)value).ToString(), value => value, StringComparer.Ordinal),
        Merges = [],
        AddedTokens = [.. specialTokens.Select((content, i) => new AddedToken(256 + i, content, true))],
    };
}
