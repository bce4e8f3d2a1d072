namespace Platform.Serving.Core.Constraints;

/// <summary>A set of texts, as a regular expression over Unicode code points.</summary>
internal abstract record RegexNode
{
    private RegexNode()
    {
    }

    /// <summary>The empty text.</summary>
    public static RegexNode Nothing { get; } = new Sequence([]);

    /// <summary>One code point of any of these ranges, both ends included.</summary>
    public sealed record Class(IReadOnlyList<(int Low, int High)> Ranges) : RegexNode;

    /// <summary>One after the other.</summary>
    public sealed record Sequence(IReadOnlyList<RegexNode> Items) : RegexNode;

    /// <summary>Any one of these.</summary>
    public sealed record Choice(IReadOnlyList<RegexNode> Items) : RegexNode;

    /// <summary>An item several times over; without a bound when <paramref name="Most"/> is null.</summary>
    public sealed record Repeat(RegexNode Item, int Least, int? Most) : RegexNode;

    /// <summary>Exactly this text.</summary>
    public static RegexNode Literal(string text) =>
        new Sequence([.. text.EnumerateRunes().Select(rune => new Class([(rune.Value, rune.Value)]))]);

    /// <summary>One after the other.</summary>
    public static RegexNode Of(params IReadOnlyList<RegexNode> items) => new Sequence(items);

    /// <summary>Once or not at all.</summary>
    public static RegexNode Optional(RegexNode item) => new Repeat(item, 0, 1);
}

/// <summary>An expression or a schema cannot be used; the message says why and where.</summary>
public sealed class ConstraintException(string message) : Exception(message);
