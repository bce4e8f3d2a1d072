using Platform.Text.Tokenization;

namespace Platform.Text.Training;

/// <summary>What a BPE tokenizer is to be.</summary>
public sealed record BpeTrainingOptions
{
    /// <summary>
    /// Number of tokens wanted in all: 256 bytes, the merges and the special tokens. A text with too few recurring
    /// pairs gives fewer.
    /// </summary>
    public required int VocabularySize { get; init; }

    /// <summary>Special tokens, which get the last ids.</summary>
    public IReadOnlyList<string> SpecialTokens { get; init; } = DefaultSpecialTokens;

    /// <summary>Patterns that cut text into words; pairs are never merged across words.</summary>
    public IReadOnlyList<string> Splits { get; init; } = [SplitPatterns.Llama3];

    /// <summary>A pair seen less often than this is not merged.</summary>
    public long MinimumFrequency { get; init; } = 2;

    /// <summary>End of text, and the two marks of a ChatML turn.</summary>
    public static IReadOnlyList<string> DefaultSpecialTokens { get; } = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

    /// <summary>All that is wrong with the options; empty when nothing is.</summary>
    public IReadOnlyList<string> Problems()
    {
        var problems = new List<string>();
        var least = 256 + SpecialTokens.Count;
        if (VocabularySize < least || VocabularySize > BpeTables.MaxId)
        {
            problems.Add($"vocab_size is {VocabularySize}; from {least} (256 bytes and {SpecialTokens.Count} special tokens) to {BpeTables.MaxId} are allowed");
        }
        if (MinimumFrequency < 1)
        {
            problems.Add($"minimum_frequency is {MinimumFrequency}; at least 1 is allowed");
        }
        if (SpecialTokens.Any(string.IsNullOrEmpty) || SpecialTokens.Distinct(StringComparer.Ordinal).Count() != SpecialTokens.Count)
        {
            problems.Add("special tokens must be distinct and not empty");
        }
        return problems;
    }
}

/// <summary>How far a training has come.</summary>
/// <param name="CharsRead">Characters of text counted so far.</param>
/// <param name="DistinctWords">Distinct words among them.</param>
/// <param name="Merges">Merges found so far; 0 while text is read.</param>
/// <param name="MergesWanted">Merges that would fill the vocabulary.</param>
public readonly record struct BpeTrainingProgress(long CharsRead, int DistinctWords, int Merges, int MergesWanted);
