using System.Globalization;
using System.Text;

namespace Platform.Serving.Core.Constraints;

/// <summary>
/// Reads a regular expression: literals, <c>.</c>, classes, groups, alternatives, quantifiers and the usual escapes. The whole
/// text must match, so <c>^</c> at the beginning and <c>$</c> at the end change nothing. Look-around and back-references, which
/// no finite automaton has, are refused.
/// </summary>
internal sealed class RegexParser
{
    private const int LongestExpression = 16_384, DeepestNesting = 64, MostRepetitions = 1_000;
    private const int LastCodePoint = 0x10FFFF;

    private static readonly (int, int)[] Digits = [('0', '9')];
    private static readonly (int, int)[] WordCharacters = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    private static readonly (int, int)[] Spaces = [('\t', '\r'), (' ', ' ')];

    private int[] _text;
    private int _at;
    private int _depth;

    private RegexParser(string expression) => _text = [.. expression.EnumerateRunes().Select(rune => rune.Value)];

    private bool AtEnd => _at == _text.Length;

    /// <summary>Reads an expression.</summary>
    /// <exception cref="ConstraintException">It is wrong, or uses something that is not supported.</exception>
    public static RegexNode Parse(string expression) => Parse(expression, out _, out _);

    /// <summary>Reads an expression and tells whether it was anchored at its ends.</summary>
    public static RegexNode Parse(string expression, out bool fromStart, out bool toEnd)
    {
        if (expression.Length > LongestExpression)
            throw new ConstraintException($"The expression has {expression.Length} characters; at most {LongestExpression} are allowed.");
        var parser = new RegexParser(expression);
        fromStart = parser.Take('^');
        toEnd = parser._text.Length > parser._at && parser._text[^1] == '$' && (parser._text.Length < 2 || parser._text[^2] != '\\');
        if (toEnd)
            parser._text = parser._text[..^1];
        var node = parser.Alternatives();
        return parser.AtEnd ? node : throw parser.Wrong("a ')' closes nothing");
    }

    /// <summary>All code points that are in none of the ranges, surrogates left out.</summary>
    public static IReadOnlyList<(int Low, int High)> Complement(IEnumerable<(int Low, int High)> ranges)
    {
        var result = new List<(int, int)>();
        var next = 0;
        foreach (var (low, high) in ranges.Append((0xD800, 0xDFFF)).OrderBy(range => range.Item1))
        {
            if (low > next)
                result.Add((next, low - 1));
            next = Math.Max(next, high + 1);
        }

        if (next <= LastCodePoint)
            result.Add((next, LastCodePoint));
        return result;
    }

    private RegexNode Alternatives()
    {
        if (++_depth > DeepestNesting)
            throw Wrong($"groups are nested deeper than {DeepestNesting}");
        var choices = new List<RegexNode> { Items() };
        while (Take('|'))
            choices.Add(Items());
        _depth--;
        return choices.Count == 1 ? choices[0] : new RegexNode.Choice(choices);
    }

    private RegexNode.Sequence Items()
    {
        var items = new List<RegexNode>();
        while (!AtEnd && _text[_at] != '|' && _text[_at] != ')')
            items.Add(Quantified(Item()));
        return new RegexNode.Sequence(items);
    }

    private RegexNode Quantified(RegexNode item)
    {
        while (!AtEnd)
        {
            switch (_text[_at])
            {
                case '*':
                    _at++;
                    item = new RegexNode.Repeat(item, 0, null);
                    break;
                case '+':
                    _at++;
                    item = new RegexNode.Repeat(item, 1, null);
                    break;
                case '?':
                    _at++;
                    item = RegexNode.Optional(item);
                    break;
                case '{' when _at + 1 < _text.Length && _text[_at + 1] is >= '0' and <= '9':
                    item = Counted(item);
                    break;
                default:
                    return item;
            }

            // Lazy and greedy accept the same texts.
            Take('?');
        }

        return item;
    }

    private RegexNode.Repeat Counted(RegexNode item)
    {
        _at++;
        var least = Number();
        int? most = least;
        if (Take(','))
            most = !AtEnd && _text[_at] == '}' ? null : Number();
        if (!Take('}'))
            throw Wrong("a '}' is missing");
        if (least > MostRepetitions || most > MostRepetitions || most < least)
            throw Wrong($"repetitions must be in order and at most {MostRepetitions}");
        return new RegexNode.Repeat(item, least, most);
    }

    private int Number()
    {
        var digits = new StringBuilder();
        while (!AtEnd && _text[_at] is >= '0' and <= '9' && digits.Length < 6)
            digits.Append((char)_text[_at++]);
        return digits.Length > 0 ? int.Parse(digits.ToString(), CultureInfo.InvariantCulture) : throw Wrong("a number is missing");
    }

    private RegexNode Item()
    {
        var c = _text[_at++];
        switch (c)
        {
            case '(':
                return Group();
            case '[':
                return Set();
            case '.':
                return new RegexNode.Class(Complement([('\n', '\n')]));
            case '\\':
                return new RegexNode.Class(Escape());
            case '*' or '+' or '?':
                throw Wrong($"'{(char)c}' repeats nothing");
            case '^' or '$':
                throw Wrong($"'{(char)c}' is supported at the ends of the expression only");
            default:
                return new RegexNode.Class([(c, c)]);
        }
    }

    private RegexNode Group()
    {
        if (Take('?'))
        {
            if (!Take(':'))
                throw Wrong("of the groups that begin with '(?', only '(?:' is supported");
        }

        var node = Alternatives();
        return Take(')') ? node : throw Wrong("a ')' is missing");
    }

    private RegexNode.Class Set()
    {
        var negated = Take('^');
        var ranges = new List<(int Low, int High)>();
        for (var first = true; ; first = false)
        {
            if (AtEnd)
                throw Wrong("a ']' is missing");
            if (!first && Take(']'))
                break;
            var low = Member();
            if (low.Count == 1 && low[0].Low == low[0].High && _at + 1 < _text.Length && _text[_at] == '-' && _text[_at + 1] != ']')
            {
                _at++;
                var high = Member();
                if (high.Count != 1 || high[0].Low != high[0].High || high[0].Low < low[0].Low)
                    throw Wrong("a range is out of order");
                ranges.Add((low[0].Low, high[0].Low));
            }
            else
            {
                ranges.AddRange(low);
            }
        }

        return new RegexNode.Class(negated ? Complement(ranges) : ranges);
    }

    private IReadOnlyList<(int Low, int High)> Member()
    {
        var c = _text[_at++];
        return c == '\\' ? Escape() : [(c, c)];
    }

    private IReadOnlyList<(int Low, int High)> Escape()
    {
        if (AtEnd)
            throw Wrong("the expression ends with a '\\'");
        var c = _text[_at++];
        return c switch
        {
            'd' => Digits,
            'D' => Complement(Digits),
            'w' => WordCharacters,
            'W' => Complement(WordCharacters),
            's' => Spaces,
            'S' => Complement(Spaces),
            'n' => [('\n', '\n')],
            'r' => [('\r', '\r')],
            't' => [('\t', '\t')],
            'f' => [('\f', '\f')],
            'v' => [('\v', '\v')],
            'x' => Hexadecimal(2),
            'u' => Hexadecimal(4),
            (>= '0' and <= '9') or (>= 'a' and <= 'z') or (>= 'A' and <= 'Z') => throw Wrong($"the escape '\\{(char)c}' is not supported"),
            _ => [(c, c)],
        };
    }

    private (int, int)[] Hexadecimal(int digits)
    {
        var text = new StringBuilder();
        for (; digits > 0 && !AtEnd; digits--)
            text.Append(new Rune(_text[_at++]).ToString());
        return digits == 0 && int.TryParse(text.ToString(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
            && value is < 0xD800 or > 0xDFFF
            ? [(value, value)]
            : throw Wrong("hexadecimal digits of a character are missing");
    }

    private bool Take(char c)
    {
        if (AtEnd || _text[_at] != c)
            return false;
        _at++;
        return true;
    }

    private ConstraintException Wrong(string what) => new($"The expression cannot be used: {what} (at character {_at}).");
}
