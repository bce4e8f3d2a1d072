using System.Text;
using System.Text.Json;

namespace Platform.Worker.Engine.Data;

/// <summary>Reads the documents of data files, in order.</summary>
public static class DocumentReader
{
    /// <summary>The documents of one file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="format"><c>text</c>: the file is one document, or, if it is the XML reference documentation of a .NET
    /// assembly, one per type. <c>jsonl</c>: each line is an object whose <c>text</c> is a document.</param>
    /// <exception cref="InputUnreadableException">The file cannot be read or is not of the format.</exception>
    public static IEnumerable<string> Read(string path, string format) => format switch
    {
        "jsonl" => JsonLines(path),
        "text" when Path.GetExtension(path).Equals(".xml", StringComparison.OrdinalIgnoreCase) => Guard(path, () => ReferenceDocumentation.Read(path)),
        "text" => Guard(path, () => [WholeText(path)]),
        _ => throw new InputUnreadableException($"data.format: found '{format}'; text and jsonl are allowed."),
    };

    private static IReadOnlyList<string> Guard(string path, Func<IReadOnlyList<string>> read)
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

    private static string WholeText(string path) =>
        File.ReadAllText(path, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true));

    private static IEnumerable<string> JsonLines(string path)
    {
        using var lines = Guard(path, () => [.. File.ReadLines(path)]).GetEnumerator();
        for (var number = 1; lines.MoveNext(); number++)
        {
            if (string.IsNullOrWhiteSpace(lines.Current))
                continue;
            yield return TextOf(path, number, lines.Current);
        }
    }

    private static string TextOf(string path, int number, string line)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            if (document.RootElement.ValueKind == JsonValueKind.Object
                && document.RootElement.TryGetProperty("text", out var text) && text.GetString() is { } value)
                return value;
        }
        catch (Exception refused) when (refused is JsonException or InvalidOperationException)
        {
            throw new InputUnreadableException($"{path}, line {number}: {refused.Message}", refused);
        }

        throw new InputUnreadableException($"{path}, line {number}: expected an object with a string 'text'.");
    }
}
