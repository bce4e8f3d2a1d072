using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Platform.Worker.Engine.Data;

/// <summary>Reads the documents of data files, in order.</summary>
public static class DocumentReader
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The documents of one file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="format"><c>text</c>: the file is one document, or, if it is the XML reference documentation of a .NET
    /// assembly, one per type. <c>jsonl</c>: each line is an object whose <c>text</c> is a document. <c>chat</c>: each message of
    /// a conversation by itself, for a tokenizer to be trained on.</param>
    /// <param name="position">Told how many bytes of the file have been read.</param>
    /// <exception cref="InputUnreadableException">The file cannot be read or is not of the format.</exception>
    public static IEnumerable<string> Read(string path, string format, Action<long>? position = null) => format switch
    {
        "jsonl" => Lines(path, position).Select(TextOf),
        "chat" => Lines(path, position).SelectMany(line => ChatEncoder.MessagesOf(line).Select(ChatEncoder.ContentOf)),
        "text" when Path.GetExtension(path).Equals(".xml", StringComparison.OrdinalIgnoreCase) => Guard(path, () => ReferenceDocumentation.Read(path)),
        "text" => Guard(path, string[] () => [File.ReadAllText(path, Strict)]),
        _ => throw new InputUnreadableException($"data.format: '{format}' holds no text."),
    };

    /// <summary>Lines of a file of JSON lines, without blank ones.</summary>
    /// <exception cref="InputUnreadableException">The file cannot be read.</exception>
    internal static IEnumerable<JsonLine> Lines(string path, Action<long>? position)
    {
        using var reader = Guard(path, () => new StreamReader(path, Strict));
        for (var number = 1; Guard(path, reader.ReadLine) is { } line; number++)
        {
            position?.Invoke(reader.BaseStream.Position);
            if (!string.IsNullOrWhiteSpace(line))
                yield return new JsonLine(path, number, line);
        }
    }

    private static T Guard<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException or System.Xml.XmlException or DecoderFallbackException)
        {
            throw new InputUnreadableException($"{path} cannot be read: {refused.Message}", refused);
        }
    }

    /// <summary>The document of a line of <c>jsonl</c>.</summary>
    /// <exception cref="InputUnreadableException">There is none.</exception>
    internal static string TextOf(JsonLine line) =>
        line.Parse()["text"] is JsonValue value && value.GetValueKind() == JsonValueKind.String
            ? value.GetValue<string>()
            : throw line.Refuse("expected an object with a string 'text'");
}

/// <summary>A line of a file of JSON lines.</summary>
/// <param name="Path">The file.</param>
/// <param name="Number">Number of the line, from 1.</param>
/// <param name="Text">The line.</param>
internal readonly record struct JsonLine(string Path, int Number, string Text)
{
    /// <summary>The object on the line.</summary>
    /// <exception cref="InputUnreadableException">There is none.</exception>
    public JsonObject Parse()
    {
        try
        {
            return JsonNode.Parse(Text) as JsonObject ?? throw Refuse("expected an object");
        }
        catch (Exception refused) when (refused is JsonException or ArgumentException)
        {
            throw Refuse(refused.Message.TrimEnd('.'), refused);
        }
    }

    /// <summary>Says what is wrong with the line, and where it is.</summary>
    public InputUnreadableException Refuse(string problem, Exception? cause = null) =>
        cause is null ? new($"{Path}:{Number}: {problem}.") : new($"{Path}:{Number}: {problem}.", cause);
}
