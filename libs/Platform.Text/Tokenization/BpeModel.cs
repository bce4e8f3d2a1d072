namespace Platform.Text.Tokenization;

/// <summary>What every BPE tokenizer has, as a Hugging Face <c>tokenizer.json</c> says it.</summary>
public abstract record BpeModel
{
    /// <summary>Id of each token; added tokens need not be among them.</summary>
    public required IReadOnlyDictionary<string, int> Vocabulary { get; init; }

    /// <summary>The merges, most frequent first.</summary>
    public required IReadOnlyList<BpeMerge> Merges { get; init; }

    /// <summary>Tokens matched as a whole.</summary>
    public IReadOnlyList<AddedToken> AddedTokens { get; init; } = [];

    /// <summary>Whether a word that is itself a token is taken as it is, without merging (<c>ignore_merges</c>).</summary>
    public bool IgnoreMerges { get; init; }

    /// <summary>Ids put before a text when special tokens are added.</summary>
    public IReadOnlyList<int> PrefixIds { get; init; } = [];

    /// <summary>Ids put after a text when special tokens are added.</summary>
    public IReadOnlyList<int> SuffixIds { get; init; } = [];

    /// <summary>One more than the highest id.</summary>
    public int VocabularySize => 1 + Math.Max(
        Vocabulary.Count == 0 ? -1 : Vocabulary.Values.Max(),
        AddedTokens.Count == 0 ? -1 : AddedTokens.Max(token => token.Id));
}

/// <summary>Two tokens that become one.</summary>
/// <param name="Left">The first.</param>
/// <param name="Right">The second.</param>
public readonly record struct BpeMerge(string Left, string Right);
