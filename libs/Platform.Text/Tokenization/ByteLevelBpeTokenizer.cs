using System.Buffers;
using System.Collections.Concurrent;
using System.Text;
using Microsoft.ML.Tokenizers;

namespace Platform.Text.Tokenization;

/// <summary>
/// A byte-level BPE tokenizer. Cuts out special tokens, normalizes, cuts words, and has Microsoft.ML.Tokenizers merge
/// each; the ids of words seen before are kept, because most words of a text are. Words longer than
/// <see cref="LongWordChars"/> are merged by an own algorithm, because the library's cost grows with the square of a
/// word's length. Safe for use by any number of threads at once.
/// </summary>
public sealed class ByteLevelBpeTokenizer : ITextTokenizer
{
    /// <summary>Words beyond this length are not given to the library.</summary>
    internal const int LongWordChars = 256;

    private const int CachedWordChars = 64;
    private const int CachedWords = 1 << 17;

    private readonly BpeTokenizer _library;
    private readonly BpeMerger _longWords;
    private readonly int[] _byteIds;
    private readonly WordSplitter _splitter;
    private readonly byte[][] _tokenBytes;
    private readonly HashSet<int> _specialIds;
    private readonly Dictionary<string, int> _wholeWords = new(StringComparer.Ordinal);
    private readonly AddedTokenSearch _added;
    private readonly ConcurrentDictionary<string, int[]> _words = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _wordLookup;
    private int _wordCount;

    /// <summary>Creates a tokenizer of a model.</summary>
    /// <param name="model">Vocabulary, merges and settings.</param>
    /// <param name="beginOfSequenceId">Id of the token that begins a sequence.</param>
    /// <param name="endOfSequenceId">Id of the token that ends a sequence.</param>
    /// <exception cref="ArgumentException">A byte has no token, a merge names a token that does not exist, or two tokens share an id.</exception>
    /// <exception cref="NotSupportedException">A split pattern is not supported.</exception>
    public ByteLevelBpeTokenizer(ByteLevelBpeModel model, int? beginOfSequenceId = null, int? endOfSequenceId = null)
    {
        Model = model;
        BeginOfSequenceId = beginOfSequenceId;
        EndOfSequenceId = endOfSequenceId;
        VocabularySize = model.VocabularySize;
        _splitter = new WordSplitter(model.Splits);
        _added = new AddedTokenSearch(model.AddedTokens);
        SpecialTokens = model.AddedTokens.Where(token => token.Special).ToDictionary(token => token.Content, token => token.Id, StringComparer.Ordinal);
        _specialIds = [.. SpecialTokens.Values];
        _tokenBytes = BpeTables.TokenBytes(model);
        _byteIds = BpeTables.ByteIds(model);
        _longWords = new BpeMerger(BpeTables.MergeRanks(model));
        if (model.IgnoreMerges)
        {
            _wholeWords = new Dictionary<string, int>(model.Vocabulary, StringComparer.Ordinal);
        }
        _library = BpeTokenizer.Create(new BpeOptions(model.Vocabulary)
        {
            Merges = model.Merges.Select(merge => $"{merge.Left} {merge.Right}").ToList(),
            ByteLevel = true,
        });
        _wordLookup = _words.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>What the tokenizer was made of.</summary>
    public ByteLevelBpeModel Model { get; }

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public int? BeginOfSequenceId { get; }

    /// <inheritdoc/>
    public int? EndOfSequenceId { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, int> SpecialTokens { get; }

    /// <inheritdoc/>
    public IReadOnlyList<int> Encode(string text, EncodeOptions options = EncodeOptions.None)
    {
        var ids = new List<int>((text.Length / 3) + 4);
        Encode(text, options, ids);
        return ids;
    }

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> text, EncodeOptions options, List<int> destination)
    {
        if (options.HasFlag(EncodeOptions.AddSpecialTokens))
        {
            destination.AddRange(Model.PrefixIds);
        }
        while (_added.TryFind(text, options.HasFlag(EncodeOptions.ParseSpecialTokens), out var at, out var token))
        {
            EncodeOrdinary(text[..at], destination);
            destination.Add(token.Id);
            text = text[(at + token.Content.Length)..];
        }
        EncodeOrdinary(text, destination);
        if (options.HasFlag(EncodeOptions.AddSpecialTokens))
        {
            destination.AddRange(Model.SuffixIds);
        }
    }

    /// <inheritdoc/>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens = true)
    {
        var bytes = new ArrayBufferWriter<byte>();
        foreach (var id in ids)
        {
            if (!skipSpecialTokens || !IsSpecial(id))
            {
                bytes.Write(TokenBytes(id));
            }
        }
        return Encoding.UTF8.GetString(bytes.WrittenSpan);
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> TokenBytes(int id) => (uint)id < (uint)_tokenBytes.Length ? _tokenBytes[id] : [];

    /// <inheritdoc/>
    public bool IsSpecial(int id) => _specialIds.Contains(id);

    private void EncodeOrdinary(ReadOnlySpan<char> text, List<int> destination)
    {
        if (text.IsEmpty)
        {
            return;
        }
        if (!WellFormedText.IsWellFormed(text))
        {
            text = WellFormedText.Repair(text);
        }
        if (Model.Normalization == TextNormalization.FormC && NormalizationFormC.MayChange(text))
        {
            text = NormalizationFormC.Normalize(text);
        }
        _splitter.Split(text, word => EncodeWord(word, destination));
    }

    private void EncodeWord(ReadOnlySpan<char> word, List<int> destination)
    {
        if (word.Length > CachedWordChars)
        {
            MergeWord(word, destination);
            return;
        }
        if (!_wordLookup.TryGetValue(word, out var ids))
        {
            var fresh = new List<int>();
            MergeWord(word, fresh);
            ids = [.. fresh];
            if (Volatile.Read(ref _wordCount) < CachedWords && _wordLookup.TryAdd(word, ids))
            {
                Interlocked.Increment(ref _wordCount);
            }
        }
        destination.AddRange(ids);
    }

    private void MergeWord(ReadOnlySpan<char> word, List<int> destination)
    {
        if (Model.IgnoreMerges && word.Length <= LongWordChars
            && _wholeWords.TryGetValue(ByteAlphabet.ToStandIns(Encoding.UTF8.GetBytes(word.ToString())), out var whole))
        {
            destination.Add(whole);
        }
        else if (word.Length <= LongWordChars)
        {
            destination.AddRange(_library.EncodeToIds(word, considerPreTokenization: false, considerNormalization: false));
        }
        else
        {
            _longWords.Merge([.. Encoding.UTF8.GetBytes(word.ToString()).Select(value => _byteIds[value])], destination);
        }
    }
}
