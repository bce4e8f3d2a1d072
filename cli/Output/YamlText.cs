using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Cli.Files;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Platform.Cli.Output;

/// <summary>JSON values as YAML text that reads back to the same values.</summary>
internal static class YamlText
{
    /// <summary>Writes a value as one document without markers.</summary>
    public static string Of(JsonNode? root)
    {
        var text = new StringWriter { NewLine = "\n" };
        var emitter = new Emitter(text, new EmitterSettings(2, int.MaxValue, false, 1024).WithIndentedSequences());
        emitter.Emit(new StreamStart());
        emitter.Emit(new DocumentStart(null, null, true));
        Emit(emitter, root);
        emitter.Emit(new DocumentEnd(true));
        emitter.Emit(new StreamEnd());
        return text.ToString();
    }

    private static void Emit(Emitter emitter, JsonNode? node)
    {
        switch (node)
        {
            case JsonObject json:
                emitter.Emit(new MappingStart(AnchorName.Empty, TagName.Empty, true, json.Count == 0 ? MappingStyle.Flow : MappingStyle.Block));
                foreach (var (key, value) in json)
                {
                    emitter.Emit(Text(key));
                    Emit(emitter, value);
                }

                emitter.Emit(new MappingEnd());
                break;
            case JsonArray list:
                emitter.Emit(new SequenceStart(AnchorName.Empty, TagName.Empty, true, list.Count == 0 ? SequenceStyle.Flow : SequenceStyle.Block));
                foreach (var item in list)
                    Emit(emitter, item);
                emitter.Emit(new SequenceEnd());
                break;
            default:
                emitter.Emit(node?.GetValueKind() == JsonValueKind.String ? Text(node.GetValue<string>()) : new Scalar(node?.ToJsonString() ?? "null"));
                break;
        }
    }

    // Text that would be read as something else, such as "12" or "true", or that spans lines, is quoted.
    private static Scalar Text(string text)
    {
        var isPlain = YamlScalar.Resolve(text)?.GetValueKind() == JsonValueKind.String && !text.Any(char.IsControl);
        return new Scalar(AnchorName.Empty, TagName.Empty, text, isPlain ? ScalarStyle.Any : ScalarStyle.DoubleQuoted, isPlain, true);
    }
}
