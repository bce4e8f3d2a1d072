namespace Platform.Serving.Core.Constraints;

/// <summary>Makes constraints for one vocabulary and remembers the last ones. Safe for use by several threads.</summary>
internal sealed class ConstraintCompiler(int vocabularySize, Func<int, byte[]> bytesOf)
{
    private const int Remembered = 32;

    private readonly Lazy<TokenTable> _tokens = new(() => new TokenTable(vocabularySize, bytesOf));
    private readonly object _gate = new();
    private readonly Dictionary<string, TokenConstraint> _known = [];
    private readonly Queue<string> _order = [];

    /// <summary>The JSON texts that satisfy a schema.</summary>
    /// <exception cref="ConstraintException">The schema cannot be used.</exception>
    public TokenConstraint OfSchema(string schema) => Make("j" + schema, () => JsonSchemaReader.Read(schema));

    /// <summary>The texts that an expression matches.</summary>
    /// <exception cref="ConstraintException">The expression cannot be used.</exception>
    public TokenConstraint OfRegex(string expression) => Make("r" + expression, () => RegexParser.Parse(expression));

    private TokenConstraint Make(string key, Func<RegexNode> read)
    {
        lock (_gate)
        {
            if (_known.TryGetValue(key, out var known))
                return known;
        }

        var made = new TokenConstraint(read(), _tokens.Value);
        lock (_gate)
        {
            if (_known.TryAdd(key, made))
                _order.Enqueue(key);
            while (_order.Count > Remembered)
                _known.Remove(_order.Dequeue());
            return _known.GetValueOrDefault(key, made);
        }
    }
}
