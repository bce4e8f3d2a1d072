using System.Text.Json.Nodes;
using Platform.Core.Specs;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Platform.Cli.Files;

/// <summary>Reads one YAML document as JSON with the rules of YAML 1.2's core schema, and remembers lines.</summary>
internal sealed class YamlReader
{
    private readonly Dictionary<string, int> _lines = new(StringComparer.Ordinal);
    private readonly List<YamlProblem> _problems = [];
    private readonly Dictionary<string, JsonNode?> _anchors = new(StringComparer.Ordinal);
    private readonly Stack<int> _open = new();
    private readonly IParser _parser;

    private YamlReader(IParser parser) => _parser = parser;

    /// <summary>Reads a text.</summary>
    public static YamlSource Read(string text)
    {
        var reader = new YamlReader(new Parser(new StringReader(text)));
        JsonNode? root = null;
        try
        {
            root = reader.ReadStream();
        }
        catch (YamlException error)
        {
            reader._problems.Add(new YamlProblem(Line(error.Start), Sentence(error.Message)));
        }
        catch (InvalidOperationException)
        {
            // The library's scanner fails this way on a new key inside a flow collection that was never closed.
            var line = reader._open.TryPeek(out var opened) ? opened : 1;
            reader._problems.Add(new YamlProblem(line, "This is not YAML: what begins here with [ or { is not closed."));
        }

        return new YamlSource(root, reader._lines, reader._problems);
    }

    private JsonNode? ReadStream()
    {
        _parser.Consume<StreamStart>();
        if (_parser.TryConsume<StreamEnd>(out _))
            return null;
        _parser.Consume<DocumentStart>();
        var root = ReadNode("");
        _parser.Consume<DocumentEnd>();
        if (_parser.TryConsume<DocumentStart>(out var second))
            _problems.Add(new YamlProblem(Line(second.Start), "A second document begins here; put each one in a file of its own."));
        return root;
    }

    private JsonNode? ReadNode(string path)
    {
        if (_parser.TryConsume<AnchorAlias>(out var alias))
        {
            if (_anchors.TryGetValue(alias.Value.Value, out var anchored))
                return anchored?.DeepClone();
            _problems.Add(new YamlProblem(Line(alias.Start), $"No anchor &{alias.Value.Value} comes before this."));
            return null;
        }

        var (anchor, node) = _parser.Current switch
        {
            Scalar scalar => (scalar.Anchor, ReadScalar()),
            MappingStart mapping => (mapping.Anchor, ReadMapping(path)),
            SequenceStart sequence => (sequence.Anchor, ReadSequence(path)),
            _ => throw new YamlException(_parser.Current?.Start ?? Mark.Empty, _parser.Current?.End ?? Mark.Empty, "A value was expected here."),
        };
        if (!anchor.IsEmpty)
            _anchors[anchor.Value] = node;
        return node;
    }

    private JsonNode? ReadScalar()
    {
        var scalar = _parser.Consume<Scalar>();
        var isPlain = scalar.Style == ScalarStyle.Plain && scalar.Tag.IsEmpty;
        return isPlain ? YamlScalar.Resolve(scalar.Value) : JsonValue.Create(scalar.Value);
    }

    private JsonObject ReadMapping(string path)
    {
        _open.Push(Line(_parser.Current?.Start ?? Mark.Empty));
        _parser.Consume<MappingStart>();
        var json = new JsonObject();
        while (!_parser.TryConsume<MappingEnd>(out _))
        {
            if (!_parser.TryConsume<Scalar>(out var key))
            {
                _problems.Add(new YamlProblem(Line(_parser.Current?.Start ?? Mark.Empty), "A key must be plain text."));
                _parser.SkipThisAndNestedEvents();
                _parser.SkipThisAndNestedEvents();
                continue;
            }

            var at = FieldPath.Join(path, key.Value);
            if (json.ContainsKey(key.Value))
            {
                _problems.Add(new YamlProblem(Line(key.Start), $"{at}: This key is already on line {_lines[at]}; keep one of them."));
                _parser.SkipThisAndNestedEvents();
                continue;
            }

            _lines[at] = Line(key.Start);
            json[key.Value] = ReadNode(at);
        }

        _open.Pop();
        return json;
    }

    private JsonArray ReadSequence(string path)
    {
        _open.Push(Line(_parser.Current?.Start ?? Mark.Empty));
        _parser.Consume<SequenceStart>();
        var list = new JsonArray();
        while (!_parser.TryConsume<SequenceEnd>(out _))
        {
            var at = $"{path}[{list.Count}]";
            _lines[at] = Line(_parser.Current?.Start ?? Mark.Empty);
            list.Add(ReadNode(at));
        }

        _open.Pop();
        return list;
    }

    private static int Line(Mark mark) => (int)Math.Max(1, mark.Line);

    private static string Sentence(string message)
    {
        // The library puts its own position in front of the text; the line is printed anyway.
        var colon = message.StartsWith('(') ? message.IndexOf("): ", StringComparison.Ordinal) : -1;
        var text = colon < 0 ? message : message[(colon + 3)..];
        return $"This is not YAML: {text.TrimEnd('.')}.";
    }
}
