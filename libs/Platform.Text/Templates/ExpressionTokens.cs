using System.Globalization;
using System.Text;

namespace Platform.Text.Templates;

/// <summary>Kinds of tokens of expressions.</summary>
internal enum TokenKind
{
    Name,
    Text,
    Integer,
    Float,
    Symbol,
    End,
}

/// <summary>A token of an expression.</summary>
internal readonly record struct Token(TokenKind Kind, string Content, int Line);

/// <summary>The tokens between two delimiters, read one after the other.</summary>
internal sealed class ExpressionTokens
{
    private static readonly string[] Symbols = ["**", "//", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|", "~", "+", "-", "*", "/", "%", "<", ">", "="];

    private readonly List<Token> _tokens = [];
    private int _next;

    internal ExpressionTokens(TemplateSegment segment)
    {
        var line = segment.Line;
        var text = segment.Content;
        for (var i = 0; i < text.Length;)
        {
            var c = text[i];
            if (char.IsWhiteSpace(c))
            {
                line += c == '\n' ? 1 : 0;
                i++;
            }
            else if (c is '\'' or '"')
            {
                _tokens.Add(new Token(TokenKind.Text, ReadText(text, ref i, line), line));
            }
            else if (char.IsAsciiDigit(c))
            {
                _tokens.Add(ReadNumber(text, ref i, line));
            }
            else if (char.IsLetter(c) || c == '_')
            {
                var start = i;
                while (i < text.Length && (char.IsLetterOrDigit(text[i]) || text[i] == '_'))
                {
                    i++;
                }
                _tokens.Add(new Token(TokenKind.Name, text[start..i], line));
            }
            else
            {
                var at = i;
                var symbol = Symbols.FirstOrDefault(symbol => string.CompareOrdinal(text, at, symbol, 0, symbol.Length) == 0)
                    ?? throw new ChatTemplateException(line, $"'{c}' is not expected here");
                _tokens.Add(new Token(TokenKind.Symbol, symbol, line));
                i += symbol.Length;
            }
        }
        _tokens.Add(new Token(TokenKind.End, "the end of the tag", line));
    }

    internal Token Current => _tokens[_next];

    internal Token Following => _tokens[Math.Min(_next + 1, _tokens.Count - 1)];

    internal Token Read() => _tokens[_next < _tokens.Count - 1 ? _next++ : _next];

    internal bool IsSymbol(string symbol) => Current.Kind == TokenKind.Symbol && Current.Content == symbol;

    internal bool IsName(string name) => Current.Kind == TokenKind.Name && Current.Content == name;

    internal bool SkipSymbol(string symbol)
    {
        var found = IsSymbol(symbol);
        _next += found ? 1 : 0;
        return found;
    }

    internal bool SkipName(string name)
    {
        var found = IsName(name);
        _next += found ? 1 : 0;
        return found;
    }

    internal void ExpectSymbol(string symbol)
    {
        if (!SkipSymbol(symbol))
        {
            throw Unexpected($"'{symbol}'");
        }
    }

    internal string ExpectName() => Current.Kind == TokenKind.Name ? Read().Content : throw Unexpected("a name");

    internal void ExpectEnd()
    {
        if (Current.Kind != TokenKind.End)
        {
            throw Unexpected("the end of the tag");
        }
    }

    internal ChatTemplateException Unexpected(string expected) => new(Current.Line, $"found '{Current.Content}'; {expected} is expected");

    private static string ReadText(string text, ref int i, int line)
    {
        var quote = text[i++];
        var result = new StringBuilder();
        for (; i < text.Length && text[i] != quote; i++)
        {
            if (text[i] != '\\' || i + 1 >= text.Length)
            {
                result.Append(text[i]);
                continue;
            }
            i++;
            switch (text[i])
            {
                case 'n': result.Append('\n'); break;
                case 't': result.Append('\t'); break;
                case 'r': result.Append('\r'); break;
                case '\\' or '\'' or '"': result.Append(text[i]); break;
                case 'u' when i + 4 < text.Length && ushort.TryParse(text.AsSpan(i + 1, 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var unit):
                    result.Append((char)unit);
                    i += 4;
                    break;
                case 'x' when i + 2 < text.Length && byte.TryParse(text.AsSpan(i + 1, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var value):
                    result.Append((char)value);
                    i += 2;
                    break;
                case 'u' or 'x' or 'N' or 'U' or 'a' or 'b' or 'f' or 'v' or '0' or '1' or '2' or '3' or '4' or '5' or '6' or '7' or '\n':
                    throw new ChatTemplateException(line, $"the escape '\\{text[i]}' is not supported");
                default: result.Append('\\').Append(text[i]); break; // as Python keeps what is no escape
            }
        }
        if (i >= text.Length)
        {
            throw new ChatTemplateException(line, "a string is not closed");
        }
        i++;
        return result.ToString();
    }

    private static Token ReadNumber(string text, ref int i, int line)
    {
        var start = i;
        while (i < text.Length && char.IsAsciiDigit(text[i]))
        {
            i++;
        }
        if (i + 1 >= text.Length || text[i] != '.' || !char.IsAsciiDigit(text[i + 1]))
        {
            return new Token(TokenKind.Integer, text[start..i], line);
        }
        i++;
        while (i < text.Length && char.IsAsciiDigit(text[i]))
        {
            i++;
        }
        return new Token(TokenKind.Float, text[start..i], line);
    }
}
