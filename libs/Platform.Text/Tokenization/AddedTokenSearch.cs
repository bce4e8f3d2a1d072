using System.Buffers;
using System.Diagnostics.CodeAnalysis;

namespace Platform.Text.Tokenization;

/// <summary>Finds added tokens in a text, the leftmost first and the longest of those that start there.</summary>
internal sealed class AddedTokenSearch
{
    private readonly AddedToken[] _longestFirst;
    private readonly SearchValues<string>? _all;
    private readonly SearchValues<string>? _ordinary;

    internal AddedTokenSearch(IReadOnlyList<AddedToken> tokens)
    {
        _longestFirst = [.. tokens.OrderByDescending(token => token.Content.Length)];
        _all = Values(_longestFirst);
        _ordinary = Values([.. _longestFirst.Where(token => !token.Special)]);
    }

    /// <summary>The next added token.</summary>
    /// <param name="text">The text.</param>
    /// <param name="parseSpecial">Whether special ones count.</param>
    /// <param name="at">Where it starts.</param>
    /// <param name="token">The token.</param>
    internal bool TryFind(ReadOnlySpan<char> text, bool parseSpecial, out int at, [NotNullWhen(true)] out AddedToken? token)
    {
        token = null;
        at = (parseSpecial ? _all : _ordinary) is { } search ? text.IndexOfAny(search) : -1;
        if (at < 0)
        {
            return false;
        }
        foreach (var candidate in _longestFirst)
        {
            if (text[at..].StartsWith(candidate.Content, StringComparison.Ordinal) && (parseSpecial || !candidate.Special))
            {
                token = candidate;
                return true;
            }
        }
        return false;
    }

    private static SearchValues<string>? Values(AddedToken[] tokens) =>
        tokens.Length == 0 ? null : SearchValues.Create([.. tokens.Select(token => token.Content)], StringComparison.Ordinal);
}
