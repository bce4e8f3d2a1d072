using System.Text.Json;
using System.Text.Json.Nodes;

namespace Platform.Text.Tokenization;

/// <summary>What the platform uses of a Hugging Face <c>tokenizer_config.json</c>.</summary>
public sealed record TokenizerConfig
{
    /// <summary>The name the file has in a model directory.</summary>
    public const string FileName = "tokenizer_config.json";

    /// <summary>Text of the token that begins a sequence.</summary>
    public string? BeginOfSequenceToken { get; init; }

    /// <summary>Text of the token that ends a sequence.</summary>
    public string? EndOfSequenceToken { get; init; }

    /// <summary>Text of the token that fills up batches.</summary>
    public string? PaddingToken { get; init; }

    /// <summary>Text of the token for what cannot be encoded.</summary>
    public string? UnknownToken { get; init; }

    /// <summary>The chat template (the one named <c>default</c> where there are several).</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Longest sequence the model was made for, in tokens.</summary>
    public long? ModelMaxLength { get; init; }

    /// <summary>Reads a file.</summary>
    /// <exception cref="TokenizerFormatException">It is damaged.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static TokenizerConfig Read(string path) => Parse(path, File.ReadAllBytes(path));

    /// <summary>Reads a document.</summary>
    /// <param name="name">What to call it in messages.</param>
    /// <param name="json">The document, UTF-8.</param>
    /// <exception cref="TokenizerFormatException">It is damaged.</exception>
    public static TokenizerConfig Parse(string name, ReadOnlyMemory<byte> json)
    {
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 64 });
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
            {
                throw new TokenizerFormatException(name, "", $"found {root.ValueKind}; an object is expected");
            }
            return new TokenizerConfig
            {
                BeginOfSequenceToken = Token(name, root, "bos_token"),
                EndOfSequenceToken = Token(name, root, "eos_token"),
                PaddingToken = Token(name, root, "pad_token"),
                UnknownToken = Token(name, root, "unk_token"),
                ChatTemplate = Template(name, root),
                // Where there is no limit, transformers writes 10^30, which is no 64-bit integer.
                ModelMaxLength = root.TryGetProperty("model_max_length", out var length) && length.ValueKind == JsonValueKind.Number && length.TryGetInt64(out var max) ? max : null,
            };
        }
        catch (JsonException e)
        {
            throw new TokenizerFormatException(name, "", $"not valid JSON: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            throw new TokenizerFormatException(name, "", $"a string is not valid text: {e.Message}", e);
        }
    }

    /// <summary>The document, UTF-8, for a tokenizer with these added tokens.</summary>
    public byte[] ToUtf8(IReadOnlyList<AddedToken> addedTokens)
    {
        var decoder = new JsonObject();
        foreach (var token in addedTokens.OrderBy(token => token.Id))
        {
            decoder.Add(token.Id.ToString(System.Globalization.CultureInfo.InvariantCulture), new JsonObject
            {
                ["content"] = token.Content,
                ["lstrip"] = false,
                ["normalized"] = false,
                ["rstrip"] = false,
                ["single_word"] = false,
                ["special"] = token.Special,
            });
        }
        var root = new JsonObject
        {
            ["add_prefix_space"] = false,
            ["added_tokens_decoder"] = decoder,
            ["bos_token"] = BeginOfSequenceToken,
            ["eos_token"] = EndOfSequenceToken,
            ["pad_token"] = PaddingToken,
            ["unk_token"] = UnknownToken,
            ["clean_up_tokenization_spaces"] = false,
            ["tokenizer_class"] = "PreTrainedTokenizerFast",
        };
        if (ModelMaxLength is { } length)
        {
            root["model_max_length"] = length;
        }
        if (ChatTemplate is not null)
        {
            root["chat_template"] = ChatTemplate;
        }
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            root.WriteTo(json);
        }
        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }

    /// <summary>A token is written as its text, or as an object with its text as <c>content</c>.</summary>
    private static string? Token(string name, JsonElement root, string key)
    {
        if (!root.TryGetProperty(key, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return null;
        }
        if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("content", out var content))
        {
            value = content;
        }
        return value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : throw new TokenizerFormatException(name, key, $"found {value.ValueKind}; a token's text is expected");
    }

    /// <summary>A template is a text, or one of several objects with <c>name</c> and <c>template</c>.</summary>
    private static string? Template(string name, JsonElement root)
    {
        if (!root.TryGetProperty("chat_template", out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return null;
        }
        if (value.ValueKind == JsonValueKind.Array)
        {
            foreach (var entry in value.EnumerateArray())
            {
                if (entry.ValueKind == JsonValueKind.Object
                    && entry.TryGetProperty("name", out var title) && title.ValueKind == JsonValueKind.String && title.ValueEquals("default")
                    && entry.TryGetProperty("template", out var template) && template.ValueKind == JsonValueKind.String)
                {
                    return template.GetString();
                }
            }
            throw new TokenizerFormatException(name, "chat_template", "found several templates, but none named 'default'");
        }
        return value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : throw new TokenizerFormatException(name, "chat_template", $"found {value.ValueKind}; a text is expected");
    }
}
