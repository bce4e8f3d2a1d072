namespace Platform.Text.Templates;

/// <summary>A value of a template, with the kinds that Python has where they differ in templates.</summary>
internal abstract record Value
{
    private Value()
    {
    }

    internal static Value None { get; } = new NoneValue();

    internal static Value True { get; } = new Bool(true);

    internal static Value False { get; } = new Bool(false);

    internal static Value Of(bool value) => value ? True : False;

    /// <summary>What a name or key that is not there gives; printing it gives nothing, working on it is an error.</summary>
    internal sealed record Undefined(string Name) : Value;

    internal sealed record NoneValue : Value;

    internal sealed record Bool(bool Content) : Value;

    internal sealed record Integer(long Content) : Value;

    internal sealed record Float(double Content) : Value;

    internal sealed record Text(string Content) : Value;

    /// <summary>A list or tuple; compared by reference here, by content in <see cref="Operators"/>.</summary>
    internal sealed record Sequence(IReadOnlyList<Value> Items) : Value;

    /// <summary>A dictionary in the order of insertion.</summary>
    internal sealed record Map(OrderedDictionary<string, Value> Items) : Value;

    /// <summary>What <c>namespace()</c> makes: the one kind whose attributes a template may set.</summary>
    internal sealed record Namespace(Dictionary<string, Value> Items) : Value;

    /// <summary>A function, method or macro.</summary>
    internal sealed record Function(string Name, Func<Arguments, Value> Body) : Value;
}

/// <summary>The arguments of a call, taken out by position or name; what is left over is an error.</summary>
internal sealed class Arguments(string function, int line, IReadOnlyList<Value> positional, IReadOnlyDictionary<string, Value> named)
{
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);
    private int _next;

    internal int Line => line;

    internal IReadOnlyList<Value> Positional => positional;

    internal IReadOnlyDictionary<string, Value> Named => named;

    internal Value? Take(string name)
    {
        if (_next < positional.Count)
        {
            return positional[_next++];
        }
        _used.Add(name);
        return named.GetValueOrDefault(name);
    }

    internal Value? TakePositional() => _next < positional.Count ? positional[_next++] : null;

    internal Value Require(string name) => Take(name) ?? throw Error($"'{function}' needs the argument '{name}'");

    internal string? TakeText(string name) => Take(name) switch
    {
        null or Value.NoneValue => null,
        Value.Text text => text.Content,
        var other => throw Error($"'{function}' expects a string as '{name}', found {Operators.KindOf(other)}"),
    };

    internal long? TakeInteger(string name) => Take(name) switch
    {
        null or Value.NoneValue => null,
        Value.Integer number => number.Content,
        Value.Bool flag => flag.Content ? 1 : 0,
        var other => throw Error($"'{function}' expects an integer as '{name}', found {Operators.KindOf(other)}"),
    };

    internal void End()
    {
        if (_next < positional.Count)
        {
            throw Error($"'{function}' was given {positional.Count} arguments; {_next} are supported");
        }
        if (named.Keys.FirstOrDefault(name => !_used.Contains(name)) is { } extra)
        {
            throw Error($"the argument '{extra}' of '{function}' is not supported");
        }
    }

    internal ChatTemplateException Error(string problem) => new(line, problem);
}
