using System.Text;
using Platform.Text.Tokenization;

namespace Platform.Text.Tests;

/// <summary>BPE training as the paper writes it: count all pairs anew before each merge. Slow, and plainly right.</summary>
internal static class TextbookBpe
{
    internal static List<string> Train(IEnumerable<string> texts, int merges)
    {
        var words = new Dictionary<string, int>(StringComparer.Ordinal);
        var splitter = new WordSplitter([SplitPatterns.Llama3]);
        foreach (var text in texts)
        {
            splitter.Split(text, word => words[word.ToString()] = words.GetValueOrDefault(word.ToString()) + 1);
        }
        var names = Enumerable.Range(0, 256).Select(value => ByteAlphabet.CharOf((byte)value).ToString()).ToList();
        var split = words.Select(word => (Symbols: Encoding.UTF8.GetBytes(word.Key).Select(value => (int)value).ToList(), Count: word.Value)).ToList();
        var result = new List<string>();
        while (result.Count < merges)
        {
            var counts = new Dictionary<(int Left, int Right), int>();
            foreach (var (symbols, count) in split)
            {
                for (var i = 0; i + 1 < symbols.Count; i++)
                {
                    counts[(symbols[i], symbols[i + 1])] = counts.GetValueOrDefault((symbols[i], symbols[i + 1])) + count;
                }
            }
            var (left, right) = counts.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key.Left).ThenBy(pair => pair.Key.Right).First().Key;
            var merged = names.IndexOf(names[left] + names[right]);
            if (merged < 0)
            {
                merged = names.Count;
                names.Add(names[left] + names[right]);
            }
            result.Add(names[left] + " " + names[right]);
            foreach (var (symbols, _) in split)
            {
                for (var i = 0; i + 1 < symbols.Count; i++)
                {
                    if (symbols[i] == left && symbols[i + 1] == right)
                    {
                        symbols[i] = merged;
                        symbols.RemoveAt(i + 1);
                    }
                }
            }
        }
        return result;
    }
}
