using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Platform.Text.Tokenization;

/// <summary>
/// Cuts text into words by one or more regular expressions, each cutting the pieces of the one before; matches and
/// what lies between them both become words, so that the words together are the text. Patterns mean what they mean
/// over code points: characters beyond U+FFFF, which .NET's expressions see as two units of no category, are matched
/// as one character of their own category.
/// </summary>
public sealed class WordSplitter
{
    private static readonly string[] UnsupportedConstructs = ["[[:", "&&", @"\h", @"\H", @"\R", @"\X", @"\K", @"\Q", @"\x{", "(?R", "(?&", "(?P"];
    private static readonly char[] StandIns = BuildStandIns();

    private readonly Regex[] _patterns;

    /// <summary>Creates a splitter.</summary>
    /// <exception cref="NotSupportedException">A pattern uses a construct that .NET does not have or reads otherwise.</exception>
    public WordSplitter(IReadOnlyList<string> patterns)
    {
        Patterns = patterns;
        _patterns = new Regex[patterns.Count];
        for (var i = 0; i < patterns.Count; i++)
        {
            _patterns[i] = Create(patterns[i], RegexOptions.Compiled);
        }
    }

    /// <summary>Receives one word.</summary>
    public delegate void WordAction(ReadOnlySpan<char> word);

    /// <summary>The patterns, in the order they are applied.</summary>
    public IReadOnlyList<string> Patterns { get; }

    /// <summary>Calls <paramref name="action"/> for each word of a text in order.</summary>
    public void Split(ReadOnlySpan<char> text, WordAction action) => Split(text, 0, action);

    private void Split(ReadOnlySpan<char> text, int level, WordAction action)
    {
        if (text.IsEmpty)
        {
            return;
        }
        if (level == _patterns.Length)
        {
            action(text);
        }
        else if (text.IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
        {
            SplitBasic(text, text, [], level, action);
        }
        else
        {
            var shadow = Shadow(text, out var starts);
            SplitBasic(text, shadow, starts, level, action);
        }
    }

    /// <summary>Matches on <paramref name="shadow"/> and cuts <paramref name="text"/> at the places that belong to the matches.</summary>
    private void SplitBasic(ReadOnlySpan<char> text, ReadOnlySpan<char> shadow, ReadOnlySpan<int> starts, int level, WordAction action)
    {
        var end = 0;
        foreach (var match in _patterns[level].EnumerateMatches(shadow))
        {
            if (match.Length == 0)
            {
                continue;
            }
            var from = starts.IsEmpty ? match.Index : starts[match.Index];
            var to = starts.IsEmpty ? match.Index + match.Length : starts[match.Index + match.Length];
            Split(text[end..from], level + 1, action);
            Split(text[from..to], level + 1, action);
            end = to;
        }
        Split(text[end..], level + 1, action);
    }

    /// <summary>The text with one unit per code point, and where each lies in the text (with the end as last).</summary>
    private static char[] Shadow(ReadOnlySpan<char> text, out int[] starts)
    {
        var shadow = new List<char>(text.Length);
        var positions = new List<int>(text.Length + 1);
        for (var i = 0; i < text.Length;)
        {
            positions.Add(i);
            if (Rune.DecodeFromUtf16(text[i..], out var rune, out var consumed) == System.Buffers.OperationStatus.Done && consumed == 2)
            {
                shadow.Add(StandIns[(int)Rune.GetUnicodeCategory(rune)]);
            }
            else
            {
                shadow.Add(text[i]);
            }
            i += consumed;
        }
        positions.Add(text.Length);
        starts = [.. positions];
        return [.. shadow];
    }

    /// <summary>For each category, a character that has it and that no pattern spells.</summary>
    private static char[] BuildStandIns()
    {
        var standIns = new char[30];
        for (var c = '\u0250'; c < '\uFFFF'; c++)
        {
            var category = (int)CharUnicodeInfo.GetUnicodeCategory(c);
            if (standIns[category] == 0 && !char.IsWhiteSpace(c))
            {
                standIns[category] = c;
            }
        }
        return standIns;
    }

    /// <summary>Checks patterns without the cost of compiling them.</summary>
    /// <exception cref="NotSupportedException">One is not supported.</exception>
    internal static void Check(IReadOnlyList<string> patterns)
    {
        foreach (var pattern in patterns)
        {
            _ = Create(pattern, RegexOptions.None);
        }
    }

    private static Regex Create(string pattern, RegexOptions options)
    {
        var construct = UnsupportedConstructs.FirstOrDefault(construct => pattern.Contains(construct, StringComparison.Ordinal));
        if (construct is not null)
        {
            throw new NotSupportedException($"the pattern '{pattern}' uses '{construct}', which is not supported");
        }
        try
        {
            return new Regex(pattern, options | RegexOptions.CultureInvariant);
        }
        catch (ArgumentException e)
        {
            throw new NotSupportedException($"the pattern '{pattern}' is not supported: {e.Message}", e);
        }
    }
}
