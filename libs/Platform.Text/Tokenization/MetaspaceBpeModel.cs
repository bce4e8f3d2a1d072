namespace Platform.Text.Tokenization;

/// <summary>When a text gets a space before it.</summary>
public enum MetaspacePrefix
{
    /// <summary>Never.</summary>
    None,

    /// <summary>Every piece of text between added tokens, also one that begins with a space.</summary>
    Always,

    /// <summary>Every piece that does not begin with a space.</summary>
    UnlessThere,

    /// <summary>The piece at the very beginning, if it does not begin with a space.</summary>
    AtStartUnlessThere,
}

/// <summary>
/// A BPE tokenizer over characters as SentencePiece trains them (Llama 2, Mistral): spaces are written as U+2581, and a
/// character without a token is spelled by the tokens of its UTF-8 bytes, <c>&lt;0x00&gt;</c> to <c>&lt;0xFF&gt;</c>.
/// </summary>
public sealed record MetaspaceBpeModel : BpeModel
{
    /// <summary>What stands for a space.</summary>
    public const char Space = '\u2581';

    /// <summary>When a text gets a space before it.</summary>
    public MetaspacePrefix Prefix { get; init; }

    /// <summary>Whether text is cut before each space, so that no token spans two words.</summary>
    public bool SplitsWords { get; init; }

    /// <summary>The document it was read from, UTF-8, written again as it is.</summary>
    public required ReadOnlyMemory<byte> Source { get; init; }

    /// <summary>Text of a byte's token.</summary>
    public static string ByteToken(byte value) => $"<0x{value:X2}>";
}
