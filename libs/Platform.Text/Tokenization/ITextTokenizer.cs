namespace Platform.Text.Tokenization;

/// <summary>What <see cref="ITextTokenizer"/> does with special tokens when it encodes.</summary>
[Flags]
public enum EncodeOptions
{
    /// <summary>
    /// Special tokens are neither added nor recognised: a text that spells one is encoded as ordinary text. Right for
    /// training data and for text of users.
    /// </summary>
    None = 0,

    /// <summary>Adds the tokens the tokenizer puts before and after a text (a beginning-of-sequence token, say).</summary>
    AddSpecialTokens = 1,

    /// <summary>A special token spelled in the text becomes that token. Right for rendered chat templates.</summary>
    ParseSpecialTokens = 2,
}

/// <summary>Turns text into token ids and back. Safe for use by any number of threads at once.</summary>
public interface ITextTokenizer
{
    /// <summary>One more than the highest token id: the least number of rows an embedding needs.</summary>
    int VocabularySize { get; }

    /// <summary>Id of the token that begins a sequence, if the tokenizer has one.</summary>
    int? BeginOfSequenceId { get; }

    /// <summary>Id of the token that ends a sequence, if the tokenizer has one.</summary>
    int? EndOfSequenceId { get; }

    /// <summary>Ids of special tokens by their text.</summary>
    IReadOnlyDictionary<string, int> SpecialTokens { get; }

    /// <summary>Encodes a text. Code units that are not valid UTF-16 are encoded as U+FFFD.</summary>
    IReadOnlyList<int> Encode(string text, EncodeOptions options = EncodeOptions.None);

    /// <summary>Encodes a text and appends its ids to a list.</summary>
    void Encode(ReadOnlySpan<char> text, EncodeOptions options, List<int> destination);

    /// <summary>
    /// Decodes ids. Bytes that are not valid UTF-8 become U+FFFD; ids that have no token (a model's vocabulary may be
    /// padded beyond its tokenizer's) add nothing.
    /// </summary>
    /// <param name="ids">The ids.</param>
    /// <param name="skipSpecialTokens">Whether special tokens add nothing.</param>
    string Decode(IEnumerable<int> ids, bool skipSpecialTokens = true);

    /// <summary>The bytes one token stands for, in UTF-8 where it stands for whole characters; empty for an id without a token.</summary>
    ReadOnlySpan<byte> TokenBytes(int id);

    /// <summary>Whether an id is one of <see cref="SpecialTokens"/>.</summary>
    bool IsSpecial(int id);
}
