using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Platform.Text.Training;

/// <summary>Two adjacent symbols.</summary>
internal readonly record struct SymbolPair(int Left, int Right);

/// <summary>The words as symbols, how often each adjacent pair stands in them, and which words have it.</summary>
internal sealed class PairTable
{
    private readonly int[][] _words;
    private readonly int[] _lengths;
    private readonly long[] _wordCounts;
    private readonly Dictionary<SymbolPair, long> _pairCounts = [];
    private readonly Dictionary<SymbolPair, List<int>> _pairWords = [];
    private readonly PriorityQueue<SymbolPair, (long NegativeCount, int Left, int Right)> _queue = new();
    private readonly HashSet<SymbolPair> _changed = [];

    internal PairTable(Dictionary<string, long> counts)
    {
        _words = new int[counts.Count][];
        _lengths = new int[counts.Count];
        _wordCounts = new long[counts.Count];
        var word = 0;
        foreach (var (text, count) in counts)
        {
            _words[word] = [.. Encoding.UTF8.GetBytes(text).Select(value => (int)value)];
            _lengths[word] = _words[word].Length;
            _wordCounts[word] = count;
            for (var i = 0; i + 1 < _lengths[word]; i++)
            {
                Add(new SymbolPair(_words[word][i], _words[word][i + 1]), count, word);
            }
            word++;
        }
        Enqueue();
    }

    /// <summary>
    /// The most frequent pair. Entries of the queue whose count has fallen since are put back with the right one;
    /// counts of a queued pair only rise through <see cref="Enqueue"/>, which adds an entry.
    /// </summary>
    internal SymbolPair? TakeMostFrequent(long minimum)
    {
        while (_queue.TryDequeue(out var pair, out var priority))
        {
            var count = _pairCounts.GetValueOrDefault(pair);
            if (count < minimum)
            {
                continue;
            }
            if (count == -priority.NegativeCount)
            {
                return pair;
            }
            if (count < -priority.NegativeCount)
            {
                _queue.Enqueue(pair, (-count, pair.Left, pair.Right));
            }
        }
        return null;
    }

    /// <summary>Replaces the pair by one symbol in every word and corrects the counts of its neighbours.</summary>
    internal void Merge(SymbolPair pair, int merged)
    {
        var words = _pairWords[pair];
        foreach (var word in words)
        {
            MergeInWord(word, pair, merged);
        }
        _pairCounts.Remove(pair);
        _pairWords.Remove(pair);
        _changed.Remove(pair);
        Enqueue();
    }

    private void MergeInWord(int word, SymbolPair pair, int merged)
    {
        var symbols = _words[word];
        var length = _lengths[word];
        var count = _wordCounts[word];
        var write = 0;
        for (var read = 0; read < length; read++)
        {
            if (symbols[read] != pair.Left || read + 1 >= length || symbols[read + 1] != pair.Right)
            {
                symbols[write++] = symbols[read];
                continue;
            }
            if (write > 0)
            {
                Remove(new SymbolPair(symbols[write - 1], pair.Left), count);
                Add(new SymbolPair(symbols[write - 1], merged), count, word);
            }
            if (read + 2 < length)
            {
                Remove(new SymbolPair(pair.Right, symbols[read + 2]), count);
                // What follows may itself be merged; the pair is then corrected when it is.
                Add(new SymbolPair(merged, symbols[read + 2]), count, word);
            }
            symbols[write++] = merged;
            read++;
        }
        _lengths[word] = write;
    }

    private void Add(SymbolPair pair, long count, int word)
    {
        CollectionsMarshal.GetValueRefOrAddDefault(_pairCounts, pair, out _) += count;
        ref var words = ref CollectionsMarshal.GetValueRefOrAddDefault(_pairWords, pair, out _);
        words ??= [];
        if (words.Count == 0 || words[^1] != word)
        {
            words.Add(word);
        }
        _changed.Add(pair);
    }

    private void Remove(SymbolPair pair, long count)
    {
        ref var current = ref CollectionsMarshal.GetValueRefOrNullRef(_pairCounts, pair);
        if (!Unsafe.IsNullRef(ref current))
        {
            current -= count;
        }
    }

    private void Enqueue()
    {
        foreach (var pair in _changed)
        {
            if (_pairCounts.TryGetValue(pair, out var count) && count > 0)
            {
                _queue.Enqueue(pair, (-count, pair.Left, pair.Right));
            }
        }
        _changed.Clear();
    }
}
