using System.Globalization;

namespace Platform.Text.Templates;

/// <summary>Parses expressions with the precedence of Jinja (<c>jinja2/parser.py</c>).</summary>
internal sealed class ExpressionParser(ExpressionTokens tokens)
{
    private const int MaxDepth = 100;

    private int _depth;

    /// <summary>An expression, or several with commas between them, which make a tuple.</summary>
    internal Expression ParseTuple()
    {
        var first = Parse();
        if (!tokens.IsSymbol(","))
        {
            return first;
        }
        var items = new List<Expression> { first };
        while (tokens.SkipSymbol(",") && tokens.Current.Kind != TokenKind.End)
        {
            items.Add(Parse());
        }
        return new Expression.List(first.Line, items);
    }

    internal Expression Parse()
    {
        if (++_depth > MaxDepth)
        {
            throw new ChatTemplateException(tokens.Current.Line, $"expressions are nested more than {MaxDepth} deep");
        }
        RenderBudget.RequireStack(tokens.Current.Line);
        var value = ParseOr();
        while (tokens.SkipName("if"))
        {
            var condition = ParseOr();
            value = new Expression.Conditional(value.Line, condition, value, tokens.SkipName("else") ? Parse() : null);
        }
        _depth--;
        return value;
    }

    /// <summary>An expression that an <c>if</c> behind it does not belong to, as after <c>in</c> of a loop.</summary>
    internal Expression ParseOr()
    {
        var left = ParseAnd();
        while (tokens.SkipName("or"))
        {
            left = new Expression.Or(left.Line, left, ParseAnd());
        }
        return left;
    }

    private Expression ParseAnd()
    {
        var left = ParseNot();
        while (tokens.SkipName("and"))
        {
            left = new Expression.And(left.Line, left, ParseNot());
        }
        return left;
    }

    private Expression ParseNot()
    {
        var line = tokens.Current.Line;
        var count = 0;
        while (tokens.SkipName("not"))
        {
            count++;
        }
        var value = ParseCompare();
        for (var i = 0; i < Math.Min(count, 2 - (count % 2)); i++)
        {
            value = new Expression.Not(line, value);
        }
        return value;
    }

    private Expression ParseCompare()
    {
        var first = ParseSum();
        var rest = new List<(string, Expression)>();
        while (true)
        {
            if (tokens.Current is { Kind: TokenKind.Symbol, Content: "==" or "!=" or "<" or ">" or "<=" or ">=" })
            {
                rest.Add((tokens.Read().Content, ParseSum()));
            }
            else if (tokens.SkipName("in"))
            {
                rest.Add(("in", ParseSum()));
            }
            else if (tokens.IsName("not") && tokens.Following is { Kind: TokenKind.Name, Content: "in" })
            {
                tokens.Read();
                tokens.Read();
                rest.Add(("not in", ParseSum()));
            }
            else
            {
                return rest.Count == 0 ? first : new Expression.Compare(first.Line, first, rest);
            }
        }
    }

    private Expression ParseSum() => ParseLeft(ParseConcatenation, "+", "-");

    private Expression ParseConcatenation() => ParseLeft(ParseProduct, "~");

    private Expression ParseProduct() => ParseLeft(() => ParseUnary(withFilters: true), "*", "/", "//", "%");

    private Expression ParseLeft(Func<Expression> operand, params string[] operators)
    {
        var left = operand();
        while (tokens.Current.Kind == TokenKind.Symbol && operators.Contains(tokens.Current.Content))
        {
            var symbol = tokens.Read();
            left = new Expression.Binary(symbol.Line, symbol.Content, left, operand());
        }
        return left;
    }

    private Expression ParseUnary(bool withFilters)
    {
        var line = tokens.Current.Line;
        if (++_depth > MaxDepth)
        {
            throw new ChatTemplateException(line, $"expressions are nested more than {MaxDepth} deep");
        }
        Expression value;
        if (tokens.SkipSymbol("-"))
        {
            value = new Expression.Negate(line, ParseUnary(withFilters: false));
        }
        else if (tokens.SkipSymbol("+"))
        {
            value = ParseUnary(withFilters: false);
        }
        else
        {
            value = ParsePostfix(ParsePrimary());
        }
        if (tokens.IsSymbol("**"))
        {
            throw new ChatTemplateException(line, "the operator '**' is not supported");
        }
        _depth--;
        return withFilters ? ParseFilters(value) : value;
    }

    private Expression ParsePrimary()
    {
        var token = tokens.Read();
        switch (token.Kind)
        {
            case TokenKind.Name:
                return token.Content switch
                {
                    "true" or "True" => new Expression.Literal(token.Line, Value.True),
                    "false" or "False" => new Expression.Literal(token.Line, Value.False),
                    "none" or "None" => new Expression.Literal(token.Line, Value.None),
                    _ => new Expression.Name(token.Line, token.Content),
                };
            case TokenKind.Text:
                var text = token.Content;
                while (tokens.Current.Kind == TokenKind.Text)
                {
                    text += tokens.Read().Content;
                }
                return new Expression.Literal(token.Line, new Value.Text(text));
            case TokenKind.Integer:
                return long.TryParse(token.Content, NumberStyles.None, CultureInfo.InvariantCulture, out var integer)
                    ? new Expression.Literal(token.Line, new Value.Integer(integer))
                    : throw new ChatTemplateException(token.Line, $"the integer {token.Content} is too large");
            case TokenKind.Float:
                return new Expression.Literal(token.Line, new Value.Float(double.Parse(token.Content, CultureInfo.InvariantCulture)));
            case TokenKind.Symbol when token.Content == "(":
                return ParseParentheses(token.Line);
            case TokenKind.Symbol when token.Content == "[":
                return new Expression.List(token.Line, ParseItems("]"));
            case TokenKind.Symbol when token.Content == "{":
                return ParseDictionary(token.Line);
            default:
                throw new ChatTemplateException(token.Line, $"found '{token.Content}'; a value is expected");
        }
    }

    private Expression ParseParentheses(int line)
    {
        if (tokens.SkipSymbol(")"))
        {
            return new Expression.List(line, []);
        }
        var first = Parse();
        if (tokens.SkipSymbol(")"))
        {
            return first;
        }
        tokens.ExpectSymbol(",");
        return new Expression.List(line, [first, .. ParseItems(")")]);
    }

    private List<Expression> ParseItems(string close)
    {
        var items = new List<Expression>();
        while (!tokens.SkipSymbol(close))
        {
            items.Add(Parse());
            if (!tokens.IsSymbol(close))
            {
                tokens.ExpectSymbol(",");
            }
        }
        return items;
    }

    private Expression.Dictionary ParseDictionary(int line)
    {
        var items = new List<(Expression, Expression)>();
        while (!tokens.SkipSymbol("}"))
        {
            var key = Parse();
            tokens.ExpectSymbol(":");
            items.Add((key, Parse()));
            if (!tokens.IsSymbol("}"))
            {
                tokens.ExpectSymbol(",");
            }
        }
        return new Expression.Dictionary(line, items);
    }

    private Expression ParsePostfix(Expression value)
    {
        while (true)
        {
            var line = tokens.Current.Line;
            if (tokens.SkipSymbol("."))
            {
                value = tokens.Current.Kind == TokenKind.Integer
                    ? new Expression.Index(line, value, ParsePrimary())
                    : new Expression.Attribute(line, value, tokens.ExpectName());
            }
            else if (tokens.SkipSymbol("["))
            {
                value = ParseSubscript(line, value);
            }
            else if (tokens.SkipSymbol("("))
            {
                value = new Expression.Call(line, value, ParseArguments());
            }
            else
            {
                return value;
            }
        }
    }

    private Expression ParseSubscript(int line, Expression target)
    {
        var start = tokens.IsSymbol(":") ? null : Parse();
        if (start is not null && tokens.SkipSymbol("]"))
        {
            return new Expression.Index(line, target, start);
        }
        tokens.ExpectSymbol(":");
        var stop = tokens.IsSymbol(":") || tokens.IsSymbol("]") ? null : Parse();
        var step = tokens.SkipSymbol(":") && !tokens.IsSymbol("]") ? Parse() : null;
        tokens.ExpectSymbol("]");
        return new Expression.Slice(line, target, start, stop, step);
    }

    /// <summary>Arguments up to the closing parenthesis; the opening one has been read.</summary>
    private CallArguments ParseArguments()
    {
        var positional = new List<Expression>();
        var named = new List<(string, Expression)>();
        while (!tokens.SkipSymbol(")"))
        {
            if (tokens.IsSymbol("*") || tokens.IsSymbol("**"))
            {
                throw new ChatTemplateException(tokens.Current.Line, $"'{tokens.Current.Content}' in arguments is not supported");
            }
            if (tokens.Current.Kind == TokenKind.Name && tokens.Following is { Kind: TokenKind.Symbol, Content: "=" })
            {
                var name = tokens.ExpectName();
                tokens.ExpectSymbol("=");
                named.Add((name, Parse()));
            }
            else
            {
                positional.Add(Parse());
            }
            if (!tokens.IsSymbol(")"))
            {
                tokens.ExpectSymbol(",");
            }
        }
        return new CallArguments(positional, named);
    }

    private Expression ParseFilters(Expression value)
    {
        while (true)
        {
            var line = tokens.Current.Line;
            if (tokens.SkipSymbol("|"))
            {
                var name = tokens.ExpectName();
                value = new Expression.Filter(line, value, Filters.Known(name, line), tokens.SkipSymbol("(") ? ParseArguments() : CallArguments.Empty);
            }
            else if (tokens.SkipName("is"))
            {
                value = ParseTest(line, value);
            }
            else if (tokens.SkipSymbol("("))
            {
                value = new Expression.Call(line, value, ParseArguments());
            }
            else
            {
                return value;
            }
        }
    }

    private Expression ParseTest(int line, Expression value)
    {
        var negated = tokens.SkipName("not");
        var name = Tests.Known(tokens.Current.Kind == TokenKind.Symbol ? tokens.Read().Content : tokens.ExpectName(), line);
        var arguments = CallArguments.Empty;
        if (tokens.SkipSymbol("("))
        {
            arguments = ParseArguments();
        }
        else if (Tests.TakesArgument(name))
        {
            arguments = new CallArguments([ParsePostfix(ParsePrimary())], []);
        }
        Expression test = new Expression.Test(line, value, name, arguments);
        return negated ? new Expression.Not(line, test) : test;
    }
}
