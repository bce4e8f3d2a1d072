namespace Platform.Text.Templates;

/// <summary>Methods of strings and mappings.</summary>
internal static class Methods
{
    /// <summary>A method of a value, or null when the kind has none of this name.</summary>
    internal static Value.Function? Of(Value target, string name, Evaluator evaluator) => target switch
    {
        Value.Text text => OfText(text.Content, name, evaluator),
        Value.Map map => OfMap(map, name),
        _ => null,
    };

    internal static string Strip(string text, string? chars, bool start, bool end)
    {
        if (chars is null)
        {
            return start && end ? text.Trim() : start ? text.TrimStart() : text.TrimEnd();
        }
        var set = chars.ToCharArray();
        if (set.Length == 0)
        {
            return text; // .NET takes an empty set for white space
        }
        return start && end ? text.Trim(set) : start ? text.TrimStart(set) : text.TrimEnd(set);
    }

    internal static string Capitalize(string text) => text.Length == 0 ? "" : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    internal static string Title(string text)
    {
        var result = text.ToCharArray();
        for (var i = 0; i < result.Length; i++)
        {
            result[i] = i > 0 && char.IsLetter(result[i - 1]) ? char.ToLowerInvariant(result[i]) : char.ToUpperInvariant(result[i]);
        }
        return new string(result);
    }

    internal static Value Replace(string text, Arguments arguments, Evaluator evaluator)
    {
        var old = arguments.TakeText("old") ?? throw arguments.Error("'replace' needs the text to replace");
        var with = arguments.TakeText("new") ?? throw arguments.Error("'replace' needs the text to put in");
        if (arguments.TakeInteger("count") is not null)
        {
            throw arguments.Error("'replace' with a count is not supported");
        }
        if (old.Length == 0)
        {
            throw arguments.Error("'replace' of an empty text is not supported");
        }
        evaluator.Budget.CheckLength(arguments.Line, text.Length + (((long)text.Length / old.Length) * Math.Max(0, with.Length - old.Length)));
        return new Value.Text(text.Replace(old, with, StringComparison.Ordinal));
    }

    internal static Value Items(Value value, Arguments arguments) => value is Value.Map map
        ? new Value.Sequence([.. map.Items.Select(item => new Value.Sequence([new Value.Text(item.Key), item.Value]))])
        : throw arguments.Error($"a mapping is expected, found {Operators.KindOf(value)}");

    private static Value.Function? OfText(string text, string name, Evaluator evaluator) => name switch
    {
        "strip" => Method(name, arguments => new Value.Text(Strip(text, arguments.TakeText("chars"), true, true))),
        "lstrip" => Method(name, arguments => new Value.Text(Strip(text, arguments.TakeText("chars"), true, false))),
        "rstrip" => Method(name, arguments => new Value.Text(Strip(text, arguments.TakeText("chars"), false, true))),
        "upper" => Method(name, _ => new Value.Text(text.ToUpperInvariant())),
        "lower" => Method(name, _ => new Value.Text(text.ToLowerInvariant())),
        "title" => Method(name, _ => new Value.Text(Title(text))),
        "capitalize" => Method(name, _ => new Value.Text(Capitalize(text))),
        "startswith" => Method(name, arguments => Value.Of(Affixes(arguments).Any(affix => text.StartsWith(affix, StringComparison.Ordinal)))),
        "endswith" => Method(name, arguments => Value.Of(Affixes(arguments).Any(affix => text.EndsWith(affix, StringComparison.Ordinal)))),
        "replace" => Method(name, arguments => Replace(text, arguments, evaluator)),
        "split" => Method(name, arguments => Split(text, arguments, evaluator)),
        "find" => Method(name, arguments => new Value.Integer(text.IndexOf(arguments.TakeText("sub") ?? "", StringComparison.Ordinal))),
        "isdigit" => Method(name, _ => Value.Of(text.Length > 0 && text.All(char.IsDigit))),
        "join" => Method(name, arguments => Filters.Apply("join", arguments.Require("iterable"), new Arguments("join", arguments.Line, [new Value.Text(text)], new Dictionary<string, Value>()), evaluator)),
        _ => null,
    };

    private static Value.Function? OfMap(Value.Map map, string name) => name switch
    {
        "items" => Method(name, arguments => Items(map, arguments)),
        "keys" => Method(name, _ => new Value.Sequence([.. map.Items.Keys.Select(key => new Value.Text(key))])),
        "values" => Method(name, _ => new Value.Sequence([.. map.Items.Values])),
        "get" => Method(name, arguments =>
        {
            var key = arguments.TakeText("key");
            var fallback = arguments.Take("default") ?? Value.None;
            return key is not null && map.Items.TryGetValue(key, out var found) ? found : fallback;
        }),
        _ => null,
    };

    private static Value.Function Method(string name, Func<Arguments, Value> body) => new(name, arguments =>
    {
        var result = body(arguments);
        arguments.End();
        return result;
    });

    private static IEnumerable<string> Affixes(Arguments arguments) => arguments.Require("prefix") switch
    {
        Value.Text text => [text.Content],
        Value.Sequence list => list.Items.OfType<Value.Text>().Select(text => text.Content),
        var other => throw arguments.Error($"a string is expected, found {Operators.KindOf(other)}"),
    };

    private static Value Split(string text, Arguments arguments, Evaluator evaluator)
    {
        var separator = arguments.TakeText("sep");
        var most = arguments.TakeInteger("maxsplit") ?? -1;
        if (separator is "")
        {
            throw arguments.Error("'split' at an empty text is not possible");
        }
        if (separator is null && most >= 0)
        {
            throw arguments.Error("'split' at white space with a limit is not supported");
        }
        var parts = separator is null
            ? text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)
            : most < 0 || most >= int.MaxValue ? text.Split(separator) : text.Split(separator, (int)most + 1);
        evaluator.Budget.Spend(arguments.Line, parts.Length);
        return new Value.Sequence([.. parts.Select(part => new Value.Text(part))]);
    }
}
