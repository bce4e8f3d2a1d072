namespace Platform.Text.Templates;

/// <summary>An expression of a template.</summary>
internal abstract record Expression(int Line)
{
    internal sealed record Literal(int Line, Value Content) : Expression(Line);

    internal sealed record Name(int Line, string Identifier) : Expression(Line);

    internal sealed record Attribute(int Line, Expression Target, string Key) : Expression(Line);

    internal sealed record Index(int Line, Expression Target, Expression Key) : Expression(Line);

    internal sealed record Slice(int Line, Expression Target, Expression? Start, Expression? Stop, Expression? Step) : Expression(Line);

    internal sealed record Call(int Line, Expression Target, CallArguments Arguments) : Expression(Line);

    internal sealed record Filter(int Line, Expression Input, string FilterName, CallArguments Arguments) : Expression(Line);

    internal sealed record Test(int Line, Expression Input, string TestName, CallArguments Arguments) : Expression(Line);

    internal sealed record Not(int Line, Expression Operand) : Expression(Line);

    internal sealed record Negate(int Line, Expression Operand) : Expression(Line);

    internal sealed record And(int Line, Expression Left, Expression Right) : Expression(Line);

    internal sealed record Or(int Line, Expression Left, Expression Right) : Expression(Line);

    internal sealed record Binary(int Line, string Operator, Expression Left, Expression Right) : Expression(Line);

    internal sealed record Compare(int Line, Expression First, IReadOnlyList<(string Operator, Expression Operand)> Rest) : Expression(Line);

    internal sealed record Conditional(int Line, Expression Condition, Expression Then, Expression? Else) : Expression(Line);

    internal sealed record List(int Line, IReadOnlyList<Expression> Items) : Expression(Line);

    internal sealed record Dictionary(int Line, IReadOnlyList<(Expression Key, Expression Content)> Items) : Expression(Line);
}

/// <summary>Arguments as written.</summary>
internal sealed record CallArguments(IReadOnlyList<Expression> Positional, IReadOnlyList<(string Name, Expression Content)> Named)
{
    internal static CallArguments Empty { get; } = new([], []);
}

/// <summary>A statement of a template.</summary>
internal abstract record Statement(int Line)
{
    internal sealed record Text(int Line, string Content) : Statement(Line);

    internal sealed record Output(int Line, Expression Content) : Statement(Line);

    internal sealed record If(int Line, IReadOnlyList<(Expression Condition, IReadOnlyList<Statement> Body)> Branches, IReadOnlyList<Statement> Else) : Statement(Line);

    internal sealed record For(int Line, IReadOnlyList<string> Targets, Expression Items, Expression? Condition, IReadOnlyList<Statement> Body, IReadOnlyList<Statement> Else) : Statement(Line);

    internal sealed record Set(int Line, IReadOnlyList<string> Targets, Expression Content) : Statement(Line);

    internal sealed record SetAttribute(int Line, string Target, string Key, Expression Content) : Statement(Line);

    internal sealed record SetBlock(int Line, string Target, IReadOnlyList<Statement> Body) : Statement(Line);

    internal sealed record Macro(int Line, string Name, IReadOnlyList<(string Name, Expression? Default)> Parameters, IReadOnlyList<Statement> Body) : Statement(Line);

    internal sealed record Break(int Line) : Statement(Line);

    internal sealed record Continue(int Line) : Statement(Line);

    /// <summary>Statements that stand together, such as those inside <c>generation</c> marks.</summary>
    internal sealed record Block(int Line, IReadOnlyList<Statement> Body) : Statement(Line);
}
