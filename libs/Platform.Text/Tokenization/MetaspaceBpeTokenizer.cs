using System.Buffers;
using System.Collections.Concurrent;
using System.Text;

namespace Platform.Text.Tokenization;

/// <summary>
/// A tokenizer of a <see cref="MetaspaceBpeModel"/>. Cuts out added tokens, writes spaces as U+2581, and merges characters.
/// Safe for use by any number of threads at once.
/// </summary>
/// <remarks>
/// Decoding gives the text of tokens as they stand inside a text: the space before a word stays, also at the beginning, so
/// that a stream that goes on from a prompt keeps its words apart.
/// </remarks>
public sealed class MetaspaceBpeTokenizer : ITextTokenizer
{
    private const int CachedWordChars = 64;
    private const int CachedWords = 1 << 17;

    private readonly BpeMerger _merger;
    private readonly AddedTokenSearch _added;
    private readonly int[] _byteIds;
    private readonly byte[][] _tokenBytes;
    private readonly HashSet<int> _specialIds;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _vocabulary;
    private readonly ConcurrentDictionary<string, int[]> _words = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _wordLookup;
    private int _wordCount;

    /// <summary>Creates a tokenizer of a model.</summary>
    /// <param name="model">Vocabulary, merges and settings.</param>
    /// <param name="beginOfSequenceId">Id of the token that begins a sequence.</param>
    /// <param name="endOfSequenceId">Id of the token that ends a sequence.</param>
    /// <exception cref="ArgumentException">A byte has no token, a merge names a token that does not exist, or two tokens share an id.</exception>
    public MetaspaceBpeTokenizer(MetaspaceBpeModel model, int? beginOfSequenceId = null, int? endOfSequenceId = null)
    {
        Model = model;
        BeginOfSequenceId = beginOfSequenceId;
        EndOfSequenceId = endOfSequenceId;
        VocabularySize = model.VocabularySize;
        SpecialTokens = model.AddedTokens.Where(token => token.Special).ToDictionary(token => token.Content, token => token.Id, StringComparer.Ordinal);
        _specialIds = [.. SpecialTokens.Values];
        _added = new AddedTokenSearch(model.AddedTokens);
        _byteIds = BpeTables.ByteIds(model);
        _tokenBytes = BpeTables.TokenBytes(model, Spelled);
        _merger = new BpeMerger(BpeTables.MergeRanks(model));
        _vocabulary = new Dictionary<string, int>(model.Vocabulary, StringComparer.Ordinal).GetAlternateLookup<ReadOnlySpan<char>>();
        _wordLookup = _words.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>What the tokenizer was made of.</summary>
    public MetaspaceBpeModel Model { get; }

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
        var rest = text;
        while (_added.TryFind(rest, options.HasFlag(EncodeOptions.ParseSpecialTokens), out var at, out var token))
        {
            EncodePiece(rest[..at], rest.Length == text.Length, destination);
            destination.Add(token.Id);
            rest = rest[(at + token.Content.Length)..];
        }
        EncodePiece(rest, rest.Length == text.Length, destination);
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

    private static byte[] Spelled(string token) => token is ['<', '0', 'x', var high, var low, '>'] && char.IsAsciiHexDigitUpper(high) && char.IsAsciiHexDigitUpper(low)
        ? Convert.FromHexString(token.AsSpan(3, 2))
        : Encoding.UTF8.GetBytes(token.Replace(MetaspaceBpeModel.Space, ' '));

    /// <summary>Encodes the text between two added tokens.</summary>
    private void EncodePiece(ReadOnlySpan<char> piece, bool atStart, List<int> destination)
    {
        if (piece.IsEmpty)
        {
            return;
        }
        var text = (WellFormedText.IsWellFormed(piece) ? piece.ToString() : WellFormedText.Repair(piece)).Replace(' ', MetaspaceBpeModel.Space);
        var prefixed = Model.Prefix switch
        {
            MetaspacePrefix.None => false,
            MetaspacePrefix.Always => true,
            MetaspacePrefix.UnlessThere => text[0] != MetaspaceBpeModel.Space,
            _ => atStart && text[0] != MetaspaceBpeModel.Space,
        };
        var rest = (prefixed ? MetaspaceBpeModel.Space + text : text).AsSpan();
        while (Model.SplitsWords && rest[1..].IndexOf(MetaspaceBpeModel.Space) is >= 0 and var end)
        {
            EncodeWord(rest[..(end + 1)], destination);
            rest = rest[(end + 1)..];
        }
        EncodeWord(rest, destination);
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
        if (Model.IgnoreMerges && _vocabulary.TryGetValue(word, out var whole))
        {
            destination.Add(whole);
            return;
        }
        var symbols = new List<int>(word.Length);
        Span<byte> bytes = stackalloc byte[4];
        foreach (var rune in word.EnumerateRunes())
        {
            if (_vocabulary.TryGetValue(word.Slice(0, rune.Utf16SequenceLength), out var id))
            {
                symbols.Add(id);
            }
            else
            {
                foreach (var value in bytes[..rune.EncodeToUtf8(bytes)])
                {
                    symbols.Add(_byteIds[value]);
                }
            }
            word = word[rune.Utf16SequenceLength..];
        }
        _merger.Merge([.. symbols], destination);
    }
}
