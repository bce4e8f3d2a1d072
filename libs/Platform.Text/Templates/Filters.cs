using System.Globalization;
using System.Text;

namespace Platform.Text.Templates;

/// <summary>What may stand behind <c>|</c>.</summary>
internal static class Filters
{
    private delegate Value Filter(Value value, Arguments arguments, Evaluator evaluator);

    private static readonly Dictionary<string, Filter> ByName = new(StringComparer.Ordinal)
    {
        ["trim"] = (value, arguments, evaluator) => new Value.Text(Methods.Strip(evaluator.Print(value, arguments.Line), arguments.TakeText("chars"), true, true)),
        ["tojson"] = ToJson,
        ["length"] = (value, arguments, _) => new Value.Integer(Length(value, arguments)),
        ["count"] = (value, arguments, _) => new Value.Integer(Length(value, arguments)),
        ["join"] = Join,
        ["first"] = (value, arguments, _) => Operators.Items(value, arguments.Line) is [var item, ..] ? item : new Value.Undefined("first"),
        ["last"] = (value, arguments, _) => Operators.Items(value, arguments.Line) is [.., var item] ? item : new Value.Undefined("last"),
        ["default"] = Default,
        ["d"] = Default,
        ["upper"] = (value, arguments, evaluator) => new Value.Text(evaluator.Print(value, arguments.Line).ToUpperInvariant()),
        ["lower"] = (value, arguments, evaluator) => new Value.Text(evaluator.Print(value, arguments.Line).ToLowerInvariant()),
        ["title"] = (value, arguments, evaluator) => new Value.Text(Methods.Title(evaluator.Print(value, arguments.Line))),
        ["capitalize"] = (value, arguments, evaluator) => new Value.Text(Methods.Capitalize(evaluator.Print(value, arguments.Line))),
        ["replace"] = (value, arguments, evaluator) => Methods.Replace(evaluator.Print(value, arguments.Line), arguments, evaluator),
        ["list"] = (value, arguments, _) => new Value.Sequence(Operators.Items(value, arguments.Line)),
        ["string"] = (value, arguments, evaluator) => new Value.Text(evaluator.Print(value, arguments.Line)),
        ["safe"] = (value, _, _) => value,
        ["int"] = (value, arguments, _) => ToInteger(value, arguments),
        ["float"] = (value, arguments, _) => ToFloat(value, arguments),
        ["abs"] = (value, arguments, _) => Operators.ToNumber(value) is { } number && number < 0 ? Operators.Negate(value, arguments.Line) : value,
        ["items"] = (value, arguments, _) => value is Value.Undefined ? new Value.Sequence([]) : Methods.Items(value, arguments),
        ["dictsort"] = (value, arguments, _) => new Value.Sequence([.. ((Value.Sequence)Methods.Items(value, arguments)).Items.OrderBy(pair => Key(pair), StringComparer.OrdinalIgnoreCase)]),
        ["reverse"] = (value, arguments, evaluator) => value is Value.Text ? Operators.Slice(value, null, null, -1, arguments.Line) : new Value.Sequence([.. Operators.Items(value, arguments.Line).Reverse()]),
        ["unique"] = Unique,
        ["indent"] = Indent,
        ["map"] = Map,
        ["select"] = (value, arguments, evaluator) => Select(value, arguments, evaluator, byAttribute: false, keep: true),
        ["reject"] = (value, arguments, evaluator) => Select(value, arguments, evaluator, byAttribute: false, keep: false),
        ["selectattr"] = (value, arguments, evaluator) => Select(value, arguments, evaluator, byAttribute: true, keep: true),
        ["rejectattr"] = (value, arguments, evaluator) => Select(value, arguments, evaluator, byAttribute: true, keep: false),
    };

    internal static string Known(string name, int line) => ByName.ContainsKey(name)
        ? name
        : throw new ChatTemplateException(line, $"the filter '{name}' is not supported");

    internal static Value Apply(string name, Value value, Arguments arguments, Evaluator evaluator)
    {
        var result = ByName[name](value, arguments, evaluator);
        arguments.End();
        if (result is Value.Text text)
        {
            evaluator.Budget.CheckLength(arguments.Line, text.Content.Length);
        }
        else if (result is Value.Sequence list)
        {
            evaluator.Budget.Spend(arguments.Line, list.Items.Count);
        }
        return result;
    }

    private static string Key(Value pair) => pair is Value.Sequence { Items: [Value.Text key, ..] } ? key.Content : "";

    private static Value ToJson(Value value, Arguments arguments, Evaluator evaluator)
    {
        var indent = arguments.TakeInteger("indent");
        if (indent is < 0 or > 16)
        {
            throw arguments.Error($"'tojson' supports an indent from 0 to 16, found {indent}");
        }
        // Hugging Face's 'tojson' does not escape other scripts unless told to.
        if (arguments.Take("ensure_ascii") is { } ascii && Operators.IsTrue(ascii))
        {
            throw arguments.Error("'tojson' with ensure_ascii is not supported");
        }
        return new Value.Text(PythonText.Json(value, (int?)indent, evaluator.Budget, arguments.Line));
    }

    private static long Length(Value value, Arguments arguments) => value switch
    {
        Value.Text text => text.Content.EnumerateRunes().Count(),
        Value.Map map => map.Items.Count,
        Value.Sequence or Value.Undefined => Operators.Items(value, arguments.Line).Count,
        _ => throw arguments.Error($"{Operators.KindOf(value)} has no length"),
    };

    private static Value Join(Value value, Arguments arguments, Evaluator evaluator)
    {
        var separator = arguments.TakeText("d") ?? "";
        var attribute = arguments.TakeText("attribute");
        var output = new StringBuilder();
        var first = true;
        foreach (var item in Operators.Items(value, arguments.Line))
        {
            output.Append(first ? "" : separator).Append(evaluator.Print(attribute is null ? item : evaluator.Attribute(item, attribute, arguments.Line), arguments.Line));
            evaluator.Budget.CheckLength(arguments.Line, output.Length);
            first = false;
        }
        return new Value.Text(output.ToString());
    }

    private static Value Default(Value value, Arguments arguments, Evaluator evaluator)
    {
        var fallback = arguments.Take("default_value") ?? new Value.Text("");
        var alsoFalse = arguments.Take("boolean") is { } flag && Operators.IsTrue(flag);
        return value is Value.Undefined || (alsoFalse && !Operators.IsTrue(value)) ? fallback : value;
    }

    private static Value ToInteger(Value value, Arguments arguments)
    {
        var fallback = arguments.TakeInteger("default") ?? 0;
        return new Value.Integer(value switch
        {
            Value.Float number when Math.Abs(number.Content) < 9e18 => (long)number.Content,
            Value.Text text => long.TryParse(text.Content.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var parsed) ? parsed : fallback,
            _ => Operators.ToInteger(value) ?? fallback,
        });
    }

    private static Value ToFloat(Value value, Arguments arguments)
    {
        var fallback = arguments.Take("default") is { } given ? Operators.ToNumber(given) ?? 0 : 0;
        return new Value.Float(value is Value.Text text
            ? double.TryParse(text.Content.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out var parsed) ? parsed : fallback
            : Operators.ToNumber(value) ?? fallback);
    }

    private static Value Unique(Value value, Arguments arguments, Evaluator evaluator)
    {
        var kept = new List<Value>();
        foreach (var item in Operators.Items(value, arguments.Line))
        {
            if (!kept.Any(other => Operators.AreEqual(other, item, evaluator.Budget, arguments.Line)))
            {
                kept.Add(item);
            }
        }
        return new Value.Sequence(kept);
    }

    private static Value Indent(Value value, Arguments arguments, Evaluator evaluator)
    {
        var by = arguments.Take("width") switch
        {
            null => "    ",
            Value.Integer { Content: >= 0 and <= 1000 } width => new string(' ', (int)width.Content),
            Value.Text text => text.Content,
            var other => throw arguments.Error($"'indent' by {Operators.KindOf(other)} is not supported"),
        };
        var first = arguments.Take("first") is { } a && Operators.IsTrue(a);
        var blank = arguments.Take("blank") is { } b && Operators.IsTrue(b);
        var lines = evaluator.Print(value, arguments.Line).Split('\n');
        evaluator.Budget.CheckLength(arguments.Line, lines.Sum(line => (long)line.Length + by.Length + 1));
        return new Value.Text(string.Join('\n', lines.Select((line, i) => (i == 0 && !first) || (i > 0 && line.Length == 0 && !blank) ? line : by + line)));
    }

    private static Value Map(Value value, Arguments arguments, Evaluator evaluator)
    {
        var items = Operators.Items(value, arguments.Line);
        if (arguments.Named.ContainsKey("attribute") && arguments.Positional.Count == 0)
        {
            var attribute = arguments.TakeText("attribute") ?? "";
            var fallback = arguments.Take("default");
            return new Value.Sequence([.. items.Select(item => evaluator.Attribute(item, attribute, arguments.Line)).Select(found => found is Value.Undefined && fallback is not null ? fallback : found)]);
        }
        var filter = Known(arguments.TakeText("filter") ?? throw arguments.Error("'map' needs a filter's name or an attribute"), arguments.Line);
        List<Value> rest = [.. Rest(arguments)];
        return new Value.Sequence([.. items.Select(item => Apply(filter, item, new Arguments(filter, arguments.Line, rest, arguments.Named), evaluator))]);
    }

    private static Value Select(Value value, Arguments arguments, Evaluator evaluator, bool byAttribute, bool keep)
    {
        var attribute = byAttribute ? arguments.TakeText("attribute") ?? throw arguments.Error("an attribute is needed") : null;
        var test = arguments.TakeText("test") is { } name ? Tests.Known(name, arguments.Line) : null;
        List<Value> rest = [.. Rest(arguments)];
        var kept = new List<Value>();
        foreach (var item in Operators.Items(value, arguments.Line))
        {
            evaluator.Budget.Spend(arguments.Line);
            var subject = attribute is null ? item : evaluator.Attribute(item, attribute, arguments.Line);
            var passes = test is null
                ? Operators.IsTrue(subject)
                : Tests.Apply(test, subject, new Arguments(test, arguments.Line, rest, new Dictionary<string, Value>()), evaluator.Budget);
            if (passes == keep)
            {
                kept.Add(item);
            }
        }
        return new Value.Sequence(kept);
    }

    /// <summary>The positional arguments that are left, which belong to the filter or test that is applied to each item.</summary>
    private static IEnumerable<Value> Rest(Arguments arguments)
    {
        while (arguments.TakePositional() is { } value)
        {
            yield return value;
        }
    }
}
