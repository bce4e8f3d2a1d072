namespace Platform.Text.Templates;

/// <summary>Parses the statements of a template.</summary>
internal sealed class StatementParser(IReadOnlyList<TemplateSegment> segments)
{
    private const int MaxDepth = 50;

    private int _next;
    private int _depth;
    private int _loops;

    internal List<Statement> Parse()
    {
        var (body, end) = ParseUntil();
        return end is null ? body : throw new ChatTemplateException(end.Current.Line, $"'{end.Current.Content}' closes nothing");
    }

    /// <summary>Statements up to one of these words, with the tokens of the tag that begins with it.</summary>
    private (List<Statement> Body, ExpressionTokens? End) ParseUntil(params string[] ends)
    {
        var body = new List<Statement>();
        if (++_depth > MaxDepth)
        {
            throw new ChatTemplateException(segments[_next - 1].Line, $"statements are nested more than {MaxDepth} deep");
        }
        while (_next < segments.Count)
        {
            var segment = segments[_next++];
            if (segment.Kind == SegmentKind.Text)
            {
                body.Add(new Statement.Text(segment.Line, segment.Content));
                continue;
            }
            var tokens = new ExpressionTokens(segment);
            if (segment.Kind == SegmentKind.Output)
            {
                body.Add(new Statement.Output(segment.Line, new ExpressionParser(tokens).ParseTuple()));
                tokens.ExpectEnd();
                continue;
            }
            if (tokens.Current is { Kind: TokenKind.Name, Content: "else" or "elif" or "endif" or "endfor" or "endset" or "endmacro" or "endgeneration" })
            {
                _depth--;
                return ends.Length == 0 || ends.Contains(tokens.Current.Content)
                    ? (body, tokens)
                    : throw tokens.Unexpected(string.Join(" or ", ends.Select(end => $"'{end}'")));
            }
            body.Add(ParseStatement(tokens));
        }
        _depth--;
        return ends.Length == 0 ? (body, null) : throw new ChatTemplateException(segments.Count == 0 ? 1 : segments[^1].Line, $"the template ends; '{ends[^1]}' is missing");
    }

    private Statement ParseStatement(ExpressionTokens tokens)
    {
        var keyword = tokens.Read();
        switch (keyword.Content)
        {
            case "if":
                return ParseIf(keyword.Line, tokens);
            case "for":
                return ParseFor(keyword.Line, tokens);
            case "set":
                return ParseSet(keyword.Line, tokens);
            case "macro":
                return ParseMacro(keyword.Line, tokens);
            case "break" or "continue" when _loops > 0:
                tokens.ExpectEnd();
                return keyword.Content == "break" ? new Statement.Break(keyword.Line) : new Statement.Continue(keyword.Line);
            case "generation": // marks what a trainer would learn from; it puts out nothing itself
                tokens.ExpectEnd();
                var (body, end) = ParseUntil("endgeneration");
                Finish(end);
                return new Statement.Block(keyword.Line, body);
            default:
                throw new ChatTemplateException(keyword.Line, $"the statement '{keyword.Content}' is not supported here");
        }
    }

    private Statement.If ParseIf(int line, ExpressionTokens tokens)
    {
        var branches = new List<(Expression, IReadOnlyList<Statement>)>();
        while (true)
        {
            var condition = new ExpressionParser(tokens).Parse();
            tokens.ExpectEnd();
            var (body, end) = ParseUntil("elif", "else", "endif");
            branches.Add((condition, body));
            switch (end?.Read().Content)
            {
                case "elif":
                    tokens = end;
                    continue;
                case "else":
                    end.ExpectEnd();
                    var (otherwise, last) = ParseUntil("endif");
                    Finish(last);
                    return new Statement.If(line, branches, otherwise);
                default:
                    end?.ExpectEnd();
                    return new Statement.If(line, branches, []);
            }
        }
    }

    private Statement.For ParseFor(int line, ExpressionTokens tokens)
    {
        var targets = ParseTargets(tokens);
        if (!tokens.SkipName("in"))
        {
            throw tokens.Unexpected("'in'");
        }
        var expressions = new ExpressionParser(tokens);
        var items = expressions.ParseOr();
        var condition = tokens.SkipName("if") ? expressions.Parse() : null;
        if (tokens.IsName("recursive"))
        {
            throw new ChatTemplateException(line, "'recursive' loops are not supported");
        }
        tokens.ExpectEnd();
        _loops++;
        var (body, end) = ParseUntil("else", "endfor");
        _loops--;
        List<Statement> otherwise = [];
        if (end?.Read().Content == "else")
        {
            end.ExpectEnd();
            (otherwise, end) = ParseUntil("endfor");
            end?.Read();
        }
        end?.ExpectEnd();
        return new Statement.For(line, targets, items, condition, body, otherwise);
    }

    private Statement ParseSet(int line, ExpressionTokens tokens)
    {
        if (tokens.Following is { Kind: TokenKind.Symbol, Content: "." })
        {
            var target = tokens.ExpectName();
            tokens.ExpectSymbol(".");
            var key = tokens.ExpectName();
            tokens.ExpectSymbol("=");
            var content = new ExpressionParser(tokens).ParseTuple();
            tokens.ExpectEnd();
            return new Statement.SetAttribute(line, target, key, content);
        }
        var targets = ParseTargets(tokens);
        if (tokens.SkipSymbol("="))
        {
            var content = new ExpressionParser(tokens).ParseTuple();
            tokens.ExpectEnd();
            return new Statement.Set(line, targets, content);
        }
        if (tokens.Current.Kind != TokenKind.End || targets.Count != 1)
        {
            throw tokens.Unexpected("'='");
        }
        var (body, end) = ParseUntil("endset");
        Finish(end);
        return new Statement.SetBlock(line, targets[0], body);
    }

    private Statement.Macro ParseMacro(int line, ExpressionTokens tokens)
    {
        var name = tokens.ExpectName();
        tokens.ExpectSymbol("(");
        var parameters = new List<(string, Expression?)>();
        while (!tokens.SkipSymbol(")"))
        {
            var parameter = tokens.ExpectName();
            parameters.Add((parameter, tokens.SkipSymbol("=") ? new ExpressionParser(tokens).Parse() : null));
            if (!tokens.IsSymbol(")"))
            {
                tokens.ExpectSymbol(",");
            }
        }
        tokens.ExpectEnd();
        var loops = _loops;
        _loops = 0;
        var (body, end) = ParseUntil("endmacro");
        _loops = loops;
        Finish(end);
        return new Statement.Macro(line, name, parameters, body);
    }

    private static List<string> ParseTargets(ExpressionTokens tokens)
    {
        var parenthesis = tokens.SkipSymbol("(");
        var targets = new List<string> { tokens.ExpectName() };
        while (tokens.SkipSymbol(","))
        {
            targets.Add(tokens.ExpectName());
        }
        if (parenthesis)
        {
            tokens.ExpectSymbol(")");
        }
        return targets;
    }

    private static void Finish(ExpressionTokens? end)
    {
        end?.Read();
        // endset, endmacro and the like may repeat the name they close.
        if (end?.Current.Kind == TokenKind.Name)
        {
            end.Read();
        }
        end?.ExpectEnd();
    }
}
