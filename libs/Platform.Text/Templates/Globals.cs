using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Platform.Text.Templates;

/// <summary>The names a template finds when it starts.</summary>
internal static class Globals
{
    private const int MaxDepth = 60;
    private const int MaxRange = 100_000;

    internal static Scope For(ChatTemplateInput input)
    {
        var scope = new Scope(null);
        scope.Set("messages", FromJson(input.Messages, 0));
        scope.Set("add_generation_prompt", Value.Of(input.AddGenerationPrompt));
        scope.Set("bos_token", new Value.Text(input.BeginOfSequenceToken));
        scope.Set("eos_token", new Value.Text(input.EndOfSequenceToken));
        // As transformers does: without tools the variable is there, and none.
        scope.Set("tools", input.Tools is null ? Value.None : FromJson(input.Tools, 0));
        scope.Set("documents", Value.None);
        foreach (var (name, value) in input.Variables)
        {
            scope.Set(name, FromJson(value, 0));
        }
        AddFunction(scope, "raise_exception", arguments => throw new ChatTemplateRefusedException(arguments.TakeText("message") ?? "The template refuses the conversation."));
        AddFunction(scope, "strftime_now", arguments => new Value.Text(FormatTime(input.Now, arguments)));
        AddFunction(scope, "range", Range);
        AddFunction(scope, "namespace", arguments => new Value.Namespace(Named(arguments)));
        AddFunction(scope, "dict", arguments => new Value.Map(new OrderedDictionary<string, Value>(Named(arguments), StringComparer.Ordinal)));
        return scope;
    }

    private static void AddFunction(Scope scope, string name, Func<Arguments, Value> body) => scope.Set(name, new Value.Function(name, body));

    private static Dictionary<string, Value> Named(Arguments arguments) => arguments.Positional switch
    {
        [] => new Dictionary<string, Value>(arguments.Named, StringComparer.Ordinal),
        [Value.Map map] when arguments.Named.Count == 0 => map.Items.ToDictionary(item => item.Key, item => item.Value, StringComparer.Ordinal),
        _ => throw arguments.Error("named arguments or one mapping are supported"),
    };

    private static Value FromJson(JsonNode? node, int depth)
    {
        if (depth > MaxDepth)
        {
            throw new ArgumentException($"The input is nested more than {MaxDepth} deep.", nameof(node));
        }
        switch (node)
        {
            case null:
                return Value.None;
            case JsonArray list:
                return new Value.Sequence([.. list.Select(item => FromJson(item, depth + 1))]);
            case JsonObject map:
                var items = new OrderedDictionary<string, Value>(StringComparer.Ordinal);
                foreach (var (key, value) in map)
                {
                    items[key] = FromJson(value, depth + 1);
                }
                return new Value.Map(items);
            default:
                return Scalar(JsonSerializer.SerializeToElement(node));
        }
    }

    private static Value Scalar(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.String => new Value.Text(element.GetString() ?? ""),
        JsonValueKind.True => Value.True,
        JsonValueKind.False => Value.False,
        JsonValueKind.Number => element.TryGetInt64(out var integer) ? new Value.Integer(integer) : new Value.Float(element.GetDouble()),
        _ => Value.None,
    };

    private static Value.Sequence Range(Arguments arguments)
    {
        var first = arguments.TakeInteger("start") ?? 0;
        var stop = arguments.TakeInteger("stop");
        var step = arguments.TakeInteger("step") ?? 1;
        arguments.End();
        if (stop is null)
        {
            (first, stop) = (0, first);
        }
        if (step == 0)
        {
            throw arguments.Error("'range' cannot go in steps of 0");
        }
        var items = new List<Value>();
        for (var i = (Int128)first; step > 0 ? i < stop : i > stop; i += step)
        {
            if (items.Count == MaxRange)
            {
                throw arguments.Error($"'range' gives more than {MaxRange} numbers");
            }
            items.Add(new Value.Integer((long)i));
        }
        return new Value.Sequence(items);
    }

    private static string FormatTime(DateTimeOffset? now, Arguments arguments)
    {
        var format = arguments.TakeText("format") ?? throw arguments.Error("'strftime_now' needs a format");
        if (now is not { } time)
        {
            throw arguments.Error("'strftime_now' is not available: the rendering was given no time");
        }
        var output = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                output.Append(format[i]);
                continue;
            }
            i++;
            output.Append(format[i] switch
            {
                'Y' => time.ToString("yyyy", CultureInfo.InvariantCulture),
                'y' => time.ToString("yy", CultureInfo.InvariantCulture),
                'm' => time.ToString("MM", CultureInfo.InvariantCulture),
                'B' => time.ToString("MMMM", CultureInfo.InvariantCulture),
                'b' => time.ToString("MMM", CultureInfo.InvariantCulture),
                'd' => time.ToString("dd", CultureInfo.InvariantCulture),
                'A' => time.ToString("dddd", CultureInfo.InvariantCulture),
                'a' => time.ToString("ddd", CultureInfo.InvariantCulture),
                'H' => time.ToString("HH", CultureInfo.InvariantCulture),
                'I' => time.ToString("hh", CultureInfo.InvariantCulture),
                'M' => time.ToString("mm", CultureInfo.InvariantCulture),
                'S' => time.ToString("ss", CultureInfo.InvariantCulture),
                'p' => time.ToString("tt", CultureInfo.InvariantCulture),
                'j' => time.DayOfYear.ToString("D3", CultureInfo.InvariantCulture),
                '%' => "%",
                var code => throw arguments.Error($"'strftime_now' does not support '%{code}'"),
            });
        }
        return output.ToString();
    }
}
