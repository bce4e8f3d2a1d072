using System.Text.Json;

namespace Platform.Formats.Storage;

/// <summary>JSON files: bounded reading with typed errors, durable writing.</summary>
internal static class JsonFile
{
    internal static readonly JsonWriterOptions Indented = new()
    {
        Indented = true,
        NewLine = "\n",
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Reads a file whose root is an object.</summary>
    /// <exception cref="ModelFormatException">It is too long, not JSON, or its root is not an object.</exception>
    internal static JsonDocument Read(string path, long maxBytes)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1);
        if (stream.Length > maxBytes)
        {
            throw new ModelFormatException(path, "", $"the file has {stream.Length} bytes; at most {maxBytes} are allowed");
        }
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(stream, new JsonDocumentOptions { MaxDepth = 64 });
            CheckStrings(document.RootElement);
        }
        catch (JsonException e)
        {
            throw new ModelFormatException(path, "", $"not valid JSON: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            throw new ModelFormatException(path, "", $"a string is not valid text: {e.Message}", e);
        }
        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            var found = document.RootElement.ValueKind;
            document.Dispose();
            throw new ModelFormatException(path, "", $"found {found}; a JSON object is expected");
        }
        return document;
    }

    /// <summary>Writes a file durably, indented, with a newline at its end.</summary>
    internal static void Write(string path, Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, Indented))
        {
            write(json);
        }
        buffer.WriteByte((byte)'\n');
        DurableFile.WriteAllBytes(path, buffer.GetBuffer().AsSpan(0, (int)buffer.Length));
    }

    /// <summary>Decodes every string once, so that ill-formed escapes fail here and not at a later, unguarded place.</summary>
    private static void CheckStrings(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.String:
                _ = element.GetString();
                break;
            case JsonValueKind.Array:
                foreach (var item in element.EnumerateArray())
                {
                    CheckStrings(item);
                }
                break;
            case JsonValueKind.Object:
                foreach (var property in element.EnumerateObject())
                {
                    _ = property.Name;
                    CheckStrings(property.Value);
                }
                break;
            default:
                break;
        }
    }
}
