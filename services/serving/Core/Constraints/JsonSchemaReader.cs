using System.Text.Json;
using static Platform.Serving.Core.Constraints.RegexNode;

namespace Platform.Serving.Core.Constraints;

/// <summary>
/// Turns a JSON schema into an expression for the JSON texts that satisfy it: properties in the order of the schema, no
/// properties that it does not name, at most one space after a colon or comma. A keyword that would restrict values and is not
/// supported is refused, never ignored; so are schemas that refer to themselves.
/// </summary>
internal sealed class JsonSchemaReader
{
    private const int LongestSchema = 1 << 16, MostSchemas = 5_000, DeepestSchema = 24, DeepestFreeValue = 3;

    private static readonly HashSet<string> Annotations =
        ["title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions", "deprecated", "readOnly", "writeOnly", "strict", "name"];

    private static readonly RegexNode Separator = Of(Literal(","), Optional(Literal(" ")));
    private static readonly RegexNode Colon = Of(Literal(":"), Optional(Literal(" ")));
    private static readonly RegexNode Character = RegexParser.Parse("""[^"\\\x00-\x1F\x7F]|\\(["\\/bfnrt]|u[0-9a-fA-F]{4})""");
    private static readonly RegexNode Integer = RegexParser.Parse("-?(0|[1-9][0-9]{0,17})");
    private static readonly RegexNode Number = RegexParser.Parse(@"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?");
    private static readonly RegexNode Boolean = RegexParser.Parse("true|false");
    private static readonly RegexNode Null = Literal("null");

    private readonly JsonElement _root;
    private int _schemas;

    private JsonSchemaReader(JsonElement root) => _root = root;

    /// <summary>Reads a schema.</summary>
    /// <exception cref="ConstraintException">It is no JSON, or cannot be used.</exception>
    public static RegexNode Read(string schema)
    {
        if (schema.Length > LongestSchema)
            throw new ConstraintException($"The schema has {schema.Length} characters; at most {LongestSchema} are allowed.");
        try
        {
            using var document = JsonDocument.Parse(schema);
            return new JsonSchemaReader(document.RootElement).Value(document.RootElement, "", 0);
        }
        catch (JsonException exception)
        {
            throw new ConstraintException($"The schema is not JSON: {exception.Message}");
        }
    }

    private RegexNode Value(JsonElement schema, string path, int depth)
    {
        if (depth > DeepestSchema)
            throw Wrong(path, $"it is nested deeper than {DeepestSchema}, or refers to itself");
        if (++_schemas > MostSchemas)
            throw Wrong(path, $"with its references written out it consists of more than {MostSchemas} schemas");
        if (schema.ValueKind == JsonValueKind.True)
            return AnyValue(DeepestFreeValue);
        if (schema.ValueKind != JsonValueKind.Object)
            throw Wrong(path, "an object or true is expected");
        var keywords = schema.EnumerateObject().Where(keyword => !Annotations.Contains(keyword.Name)).ToDictionary(keyword => keyword.Name, keyword => keyword.Value);
        if (keywords.Remove("$ref", out var reference))
            return Alone(keywords, Value(Resolve(reference, path), $"{path}/$ref", depth + 1), path, "$ref");
        if (keywords.Remove("const", out var constant))
            return Alone(keywords, Literal(Text(constant)), path, "const", "type");
        if (keywords.Remove("enum", out var values))
        {
            if (values.ValueKind != JsonValueKind.Array || values.GetArrayLength() == 0)
                throw Wrong($"{path}/enum", "an array of at least one value is expected");
            return Alone(keywords, new Choice([.. values.EnumerateArray().Select(value => Literal(Text(value)))]), path, "enum", "type");
        }

        foreach (var several in (string[])["anyOf", "oneOf", "allOf"])
        {
            if (!keywords.Remove(several, out var schemas))
                continue;
            if (schemas.ValueKind != JsonValueKind.Array || schemas.GetArrayLength() == 0 || (several == "allOf" && schemas.GetArrayLength() > 1))
                throw Wrong($"{path}/{several}", several == "allOf" ? "an array of exactly one schema is supported" : "an array of at least one schema is expected");
            return Alone(keywords, new Choice([.. schemas.EnumerateArray().Select((item, i) => Value(item, $"{path}/{several}/{i}", depth + 1))]), path, several);
        }

        if (!keywords.Remove("type", out var type))
            return keywords.Count == 0 ? AnyValue(DeepestFreeValue) : OfType(keywords.ContainsKey("properties") ? "object" : "any", keywords, path, depth);
        var types = type.ValueKind == JsonValueKind.Array ? type.EnumerateArray().Select(Word).ToList() : [Word(type)];
        return types.Count == 1
            ? OfType(types[0], keywords, path, depth)
            : new Choice([.. types.Select(name => OfType(name, name is "null" or "boolean" ? [] : new(keywords), path, depth))]);
    }

    private RegexNode OfType(string type, Dictionary<string, JsonElement> keywords, string path, int depth)
    {
        var node = type switch
        {
            "string" => String(keywords, path),
            "integer" => Integer,
            "number" => Number,
            "boolean" => Boolean,
            "null" => Null,
            "array" => Array(keywords, path, depth),
            "object" => Object(keywords, path, depth),
            _ => throw Wrong(path, "a type is expected: string, integer, number, boolean, null, array or object"),
        };
        return Alone(keywords, node, path, type);
    }

    private static RegexNode String(Dictionary<string, JsonElement> keywords, string path)
    {
        var (least, most) = Bounds(keywords, "minLength", "maxLength", path);
        if (keywords.Remove("pattern", out var pattern))
        {
            if (least > 0 || most is not null)
                throw Wrong(path, "pattern together with a length is not supported");
            var inside = RegexParser.Parse(Word(pattern), out var fromStart, out var toEnd);
            var free = new Repeat(Character, 0, null);
            return Of(Literal("\""), fromStart ? Nothing : free, Escaped(inside), toEnd ? Nothing : free, Literal("\""));
        }

        if (keywords.Remove("format", out var format))
        {
            var expression = Word(format) switch
            {
                "date" => @"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
                "time" => @"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)",
                "date-time" => @"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)",
                "uuid" => "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                var other => throw Wrong($"{path}/format", $"'{other}' is not supported; date, time, date-time and uuid are"),
            };
            return Of(Literal("\""), RegexParser.Parse(expression), Literal("\""));
        }

        return Of(Literal("\""), new Repeat(Character, least, most), Literal("\""));
    }

    private RegexNode Array(Dictionary<string, JsonElement> keywords, string path, int depth)
    {
        var (least, most) = Bounds(keywords, "minItems", "maxItems", path);
        var item = keywords.Remove("items", out var items) ? Value(items, $"{path}/items", depth + 1) : AnyValue(DeepestFreeValue - 1);
        return Between("[", List(item, least, most), "]");
    }

    private RegexNode Object(Dictionary<string, JsonElement> keywords, string path, int depth)
    {
        var required = keywords.Remove("required", out var names) ? names.EnumerateArray().Select(Word).ToHashSet() : [];
        var additional = keywords.Remove("additionalProperties", out var other) && other.ValueKind != JsonValueKind.False ? other : (JsonElement?)null;
        if (!keywords.Remove("properties", out var properties) || !properties.EnumerateObject().Any())
        {
            if (required.Count > 0)
                throw Wrong($"{path}/required", "it names properties that the schema does not describe");
            var value = additional is { ValueKind: JsonValueKind.Object } schema ? Value(schema, $"{path}/additionalProperties", depth + 1) : AnyValue(DeepestFreeValue - 1);
            return other.ValueKind == JsonValueKind.False ? Literal("{}") : Between("{", List(Member(value), 0, null), "}");
        }

        var members = properties.EnumerateObject()
            .Select(property => (
                Node: Of(Literal(Text(property.Name)), Colon, Value(property.Value, $"{path}/properties/{property.Name}", depth + 1)),
                IsRequired: required.Remove(property.Name)))
            .ToList();
        if (required.Count > 0)
            throw Wrong($"{path}/required", $"it names '{required.First()}', which the schema does not describe");
        return Between("{", Members(members, 0), "}");
    }

    /// <summary>Members from an index on, none of which has come before: the first that comes has no comma.</summary>
    private static RegexNode Members(List<(RegexNode Node, bool IsRequired)> members, int from)
    {
        if (from == members.Count)
            return Nothing;
        var rest = members.Skip(from + 1).Select(member =>
        {
            var item = Of(Separator, member.Node);
            return member.IsRequired ? item : Optional(item);
        });
        var first = Of([members[from].Node, .. rest]);
        return members[from].IsRequired ? first : new Choice([first, Members(members, from + 1)]);
    }

    private static RegexNode AnyValue(int depth)
    {
        var scalars = (RegexNode[])[Of(Literal("\""), new Repeat(Character, 0, null), Literal("\"")), Number, Boolean, Null];
        if (depth == 0)
            return new Choice(scalars);
        var inner = AnyValue(depth - 1);
        return new Choice([.. scalars, Between("[", List(inner, 0, null), "]"), Between("{", List(Member(inner), 0, null), "}")]);
    }

    private static RegexNode Member(RegexNode value) => Of(Literal("\""), new Repeat(Character, 0, null), Literal("\""), Colon, value);

    private static RegexNode List(RegexNode item, int least, int? most)
    {
        if (most == 0)
            return Nothing;
        var some = Of(item, new Repeat(Of(Separator, item), Math.Max(0, least - 1), most - 1));
        return least == 0 ? Optional(some) : some;
    }

    private static RegexNode Between(string open, RegexNode inside, string close) => Of(Literal(open), inside, Literal(close));

    /// <summary>An expression for a string's content as the JSON text spells it.</summary>
    private static RegexNode Escaped(RegexNode node) => node switch
    {
        Sequence sequence => new Sequence([.. sequence.Items.Select(Escaped)]),
        Choice choice => new Choice([.. choice.Items.Select(Escaped)]),
        Repeat repeat => repeat with { Item = Escaped(repeat.Item) },
        Class set => EscapedClass(set),
        _ => throw new InvalidOperationException("An expression has four forms."),
    };

    private static RegexNode EscapedClass(Class set)
    {
        bool Has(int c) => set.Ranges.Any(range => c >= range.Low && c <= range.High);
        var special = Enumerable.Range(0, 0x20).Append('"').Append('\\').ToList();
        var plain = RegexParser.Complement(RegexParser.Complement(set.Ranges).Concat(special.Select(c => (c, c))));
        var escapes = special.Where(Has).Select(c => c switch
        {
            '"' => Literal("\\\""),
            '\\' => Literal("\\\\"),
            '\n' => Literal("\\n"),
            '\r' => Literal("\\r"),
            '\t' => Literal("\\t"),
            _ => Literal($"\\u{c:x4}"),
        });
        return new Choice([new Class(plain), .. escapes]);
    }

    private static (int Least, int? Most) Bounds(Dictionary<string, JsonElement> keywords, string least, string most, string path)
    {
        int? Read(string name)
        {
            if (!keywords.Remove(name, out var value))
                return null;
            return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number is >= 0 and <= 10_000
                ? number
                : throw Wrong($"{path}/{name}", "a whole number from 0 to 10000 is expected");
        }

        var (low, high) = (Read(least) ?? 0, Read(most));
        return high < low ? throw Wrong(path, $"{least} is more than {most}") : (low, high);
    }

    private JsonElement Resolve(JsonElement reference, string path)
    {
        var text = Word(reference);
        if (!text.StartsWith("#/", StringComparison.Ordinal))
            throw Wrong($"{path}/$ref", $"'{text}' does not point into the schema");
        var target = _root;
        foreach (var part in text[2..].Split('/'))
        {
            if (target.ValueKind != JsonValueKind.Object || !target.TryGetProperty(part.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal), out target))
                throw Wrong($"{path}/$ref", $"'{text}' leads nowhere");
        }

        return target;
    }

    private static RegexNode Alone(Dictionary<string, JsonElement> keywords, RegexNode node, string path, string keyword, params string[] beside)
    {
        foreach (var other in beside)
            keywords.Remove(other);
        return keywords.Count == 0 ? node : throw Wrong(path, $"'{keywords.Keys.First()}' is not supported together with '{keyword}'");
    }

    private static string Word(JsonElement element) =>
        element.ValueKind == JsonValueKind.String && element.GetString() is { } text ? text : throw new ConstraintException($"The schema cannot be used: a string is expected in place of {element.GetRawText()}.");

    private static string Text(string value) => JsonSerializer.Serialize(value, ConstraintJson.Options);

    private static string Text(JsonElement value) => JsonSerializer.Serialize(value, ConstraintJson.Options);

    private static ConstraintException Wrong(string path, string what) =>
        new($"The schema cannot be used: at '{(path.Length == 0 ? "#" : "#" + path)}', {what}.");
}

/// <summary>JSON without needless escapes.</summary>
internal static class ConstraintJson
{
    public static JsonSerializerOptions Options { get; } = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
