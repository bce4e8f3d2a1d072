using System.Runtime.InteropServices;
using Platform.Text.Tokenization;

namespace Platform.Text.Training;

/// <summary>
/// Trains a byte-level BPE tokenizer (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword
/// Units", algorithm 1, over bytes): text is cut into words, the words are counted, and the most frequent adjacent
/// pair becomes a token until the vocabulary is full. The result depends on the text alone: among equally frequent
/// pairs the one with the lower left id, then the lower right id, goes first. The ids 0 to 255 are the bytes, so any
/// text round-trips; then come the merges in order, then the special tokens.
/// </summary>
public static class BpeTrainer
{
    private const long ReportEveryChars = 1 << 20;
    private const int ReportEveryMerges = 256;

    /// <summary>Trains a tokenizer.</summary>
    /// <param name="texts">The text, in parts of any size; enumerated once. Words do not reach across parts.</param>
    /// <param name="options">What the tokenizer is to be.</param>
    /// <param name="progress">Told now and then how far the training is.</param>
    /// <param name="cancellationToken">Ends the training early with an exception.</param>
    /// <exception cref="ArgumentException">The options are not valid; the message lists every problem.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static ByteLevelBpeModel Train(
        IEnumerable<string> texts,
        BpeTrainingOptions options,
        IProgress<BpeTrainingProgress>? progress,
        CancellationToken cancellationToken)
    {
        if (options.Problems() is { Count: > 0 } problems)
        {
            throw new ArgumentException(string.Join("; ", problems), nameof(options));
        }
        var mergesWanted = options.VocabularySize - 256 - options.SpecialTokens.Count;
        var (counts, chars) = CountWords(texts, options, mergesWanted, progress, cancellationToken);
        var table = new PairTable(counts);
        var tokens = new GrowingVocabulary();
        var merges = new List<BpeMerge>(mergesWanted);
        var merged = new HashSet<SymbolPair>();
        while (tokens.Count < 256 + mergesWanted && table.TakeMostFrequent(options.MinimumFrequency) is { } pair)
        {
            cancellationToken.ThrowIfCancellationRequested();
            table.Merge(pair, tokens.Join(pair));
            // A token that two merges make ("a" + "bc", "ab" + "c") can bring back a pair that is a merge already.
            if (merged.Add(pair))
            {
                merges.Add(new BpeMerge(tokens[pair.Left], tokens[pair.Right]));
            }
            if (merges.Count % ReportEveryMerges == 0)
            {
                progress?.Report(new BpeTrainingProgress(chars, counts.Count, merges.Count, mergesWanted));
            }
        }
        progress?.Report(new BpeTrainingProgress(chars, counts.Count, merges.Count, mergesWanted));
        return Model(options, tokens, merges);
    }

    private static ByteLevelBpeModel Model(BpeTrainingOptions options, GrowingVocabulary tokens, List<BpeMerge> merges) => new()
    {
        Vocabulary = tokens.Ids,
        Merges = merges,
        Splits = options.Splits,
        AddedTokens = [.. options.SpecialTokens.Select((content, i) => new AddedToken(tokens.Count + i, content, true))],
    };

    private static (Dictionary<string, long> Counts, long Chars) CountWords(
        IEnumerable<string> texts,
        BpeTrainingOptions options,
        int mergesWanted,
        IProgress<BpeTrainingProgress>? progress,
        CancellationToken cancellationToken)
    {
        var splitter = new WordSplitter(options.Splits);
        var counts = new Dictionary<string, long>(StringComparer.Ordinal);
        var lookup = counts.GetAlternateLookup<ReadOnlySpan<char>>();
        long chars = 0;
        long reported = 0;
        void Count(ReadOnlySpan<char> word) => CollectionsMarshal.GetValueRefOrAddDefault(lookup, word, out _)++;
        foreach (var text in texts)
        {
            cancellationToken.ThrowIfCancellationRequested();
            splitter.Split(WellFormedText.IsWellFormed(text) ? text : WellFormedText.Repair(text), Count);
            chars += text.Length;
            if (chars - reported >= ReportEveryChars)
            {
                reported = chars;
                progress?.Report(new BpeTrainingProgress(chars, counts.Count, 0, mergesWanted));
            }
        }
        return (counts, chars);
    }

    /// <summary>The tokens found so far, spelled with the stand-ins of bytes.</summary>
    private sealed class GrowingVocabulary
    {
        private readonly List<string> _tokens = [.. Enumerable.Range(0, 256).Select(value => ByteAlphabet.CharOf((byte)value).ToString())];

        internal GrowingVocabulary() => Ids = _tokens.Select((token, id) => (token, id)).ToDictionary(entry => entry.token, entry => entry.id, StringComparer.Ordinal);

        internal Dictionary<string, int> Ids { get; }

        internal int Count => _tokens.Count;

        internal string this[int id] => _tokens[id];

        /// <summary>Id of the token a pair makes, new or known.</summary>
        internal int Join(SymbolPair pair)
        {
            var token = _tokens[pair.Left] + _tokens[pair.Right];
            if (Ids.TryAdd(token, _tokens.Count))
            {
                _tokens.Add(token);
            }
            return Ids[token];
        }
    }
}
