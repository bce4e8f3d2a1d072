using System.Text.Encodings.Web;
using System.Text.Json;

namespace Platform.Text.Tokenization;

/// <summary>
/// Writes BPE models as a Hugging Face <c>tokenizer.json</c>, and reads them
/// (see <see cref="TokenizerJsonReader"/> for what is supported).
/// </summary>
public static class TokenizerJson
{
    /// <summary>The name the file has in a model directory.</summary>
    public const string FileName = "tokenizer.json";

    private const long MaxBytes = 256L << 20;

    private static readonly JsonWriterOptions WriterOptions = new()
    {
        Indented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Reads a file of any supported kind.</summary>
    /// <exception cref="TokenizerFormatException">It is damaged, or a kind of tokenizer that is not supported.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static BpeModel ReadAny(string path)
    {
        var length = new FileInfo(path).Length;
        if (length > MaxBytes)
        {
            throw new TokenizerFormatException(path, "", $"the file has {length} bytes; at most {MaxBytes} are allowed");
        }
        return ParseAny(path, File.ReadAllBytes(path));
    }

    /// <summary>Reads a document of any supported kind: with byte fallback one over characters, else one over bytes.</summary>
    /// <param name="name">What to call it in messages.</param>
    /// <param name="json">The document, UTF-8; a model over characters keeps it.</param>
    /// <exception cref="TokenizerFormatException">It is damaged, or a kind of tokenizer that is not supported.</exception>
    public static BpeModel ParseAny(string name, ReadOnlyMemory<byte> json) =>
        Parse<BpeModel>(name, json, (reader, root) => TokenizerJsonReader.HasByteFallback(root) ? reader.ReadMetaspace(root, json) : reader.Read(root));

    /// <summary>Reads a document of the byte-level kind.</summary>
    /// <param name="name">What to call it in messages.</param>
    /// <param name="json">The document, UTF-8.</param>
    /// <exception cref="TokenizerFormatException">It is damaged, or another kind of tokenizer.</exception>
    public static ByteLevelBpeModel Parse(string name, ReadOnlyMemory<byte> json) => Parse(name, json, (reader, root) => reader.Read(root));

    private static T Parse<T>(string name, ReadOnlyMemory<byte> json, Func<TokenizerJsonReader, JsonElement, T> read)
    {
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 64 });
            return read(new TokenizerJsonReader(name), document.RootElement);
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

    /// <summary>The model as a document, UTF-8.</summary>
    public static byte[] ToUtf8(BpeModel model) => model switch
    {
        ByteLevelBpeModel bytes => ToUtf8(bytes),
        MetaspaceBpeModel metaspace => metaspace.Source.ToArray(),
        _ => throw new ArgumentException($"There is no document for {model.GetType().Name}.", nameof(model)),
    };

    /// <summary>The model as a document, UTF-8.</summary>
    public static byte[] ToUtf8(ByteLevelBpeModel model)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, WriterOptions))
        {
            json.WriteStartObject();
            json.WriteString("version", "1.0");
            json.WriteNull("truncation");
            json.WriteNull("padding");
            WriteAddedTokens(json, model);
            WriteNormalizer(json, model);
            WritePreTokenizer(json, model);
            WritePostProcessor(json, model);
            json.WritePropertyName("decoder");
            WriteByteLevel(json, useRegex: true);
            WriteModel(json, model);
            json.WriteEndObject();
        }
        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }

    private static void WriteAddedTokens(Utf8JsonWriter json, ByteLevelBpeModel model)
    {
        json.WriteStartArray("added_tokens");
        foreach (var token in model.AddedTokens)
        {
            json.WriteStartObject();
            json.WriteNumber("id", token.Id);
            json.WriteString("content", token.Content);
            json.WriteBoolean("single_word", false);
            json.WriteBoolean("lstrip", false);
            json.WriteBoolean("rstrip", false);
            json.WriteBoolean("normalized", false);
            json.WriteBoolean("special", token.Special);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteNormalizer(Utf8JsonWriter json, ByteLevelBpeModel model)
    {
        if (model.Normalization == TextNormalization.None)
        {
            json.WriteNull("normalizer");
            return;
        }
        json.WriteStartObject("normalizer");
        json.WriteString("type", "NFC");
        json.WriteEndObject();
    }

    private static void WritePreTokenizer(Utf8JsonWriter json, ByteLevelBpeModel model)
    {
        json.WritePropertyName("pre_tokenizer");
        if (model.Splits is [SplitPatterns.Gpt2])
        {
            WriteByteLevel(json, useRegex: true);
            return;
        }
        json.WriteStartObject();
        json.WriteString("type", "Sequence");
        json.WriteStartArray("pretokenizers");
        foreach (var pattern in model.Splits)
        {
            json.WriteStartObject();
            json.WriteString("type", "Split");
            json.WriteStartObject("pattern");
            json.WriteString("Regex", pattern);
            json.WriteEndObject();
            json.WriteString("behavior", "Isolated");
            json.WriteBoolean("invert", false);
            json.WriteEndObject();
        }
        WriteByteLevel(json, useRegex: false);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteByteLevel(Utf8JsonWriter json, bool useRegex)
    {
        json.WriteStartObject();
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", true);
        json.WriteBoolean("use_regex", useRegex);
        json.WriteEndObject();
    }

    private static void WritePostProcessor(Utf8JsonWriter json, ByteLevelBpeModel model)
    {
        json.WritePropertyName("post_processor");
        if (model.PrefixIds.Count + model.SuffixIds.Count == 0)
        {
            WriteByteLevel(json, useRegex: true);
            return;
        }
        var contents = model.AddedTokens.ToDictionary(token => token.Id, token => token.Content);
        json.WriteStartObject();
        json.WriteString("type", "TemplateProcessing");
        WriteTemplate(json, "single", model, contents, ["A"]);
        WriteTemplate(json, "pair", model, contents, ["A", "B"]);
        json.WriteStartObject("special_tokens");
        foreach (var id in model.PrefixIds.Concat(model.SuffixIds).Distinct())
        {
            json.WriteStartObject(contents[id]);
            json.WriteString("id", contents[id]);
            json.WriteStartArray("ids");
            json.WriteNumberValue(id);
            json.WriteEndArray();
            json.WriteStartArray("tokens");
            json.WriteStringValue(contents[id]);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteTemplate(Utf8JsonWriter json, string key, ByteLevelBpeModel model, Dictionary<int, string> contents, string[] sequences)
    {
        json.WriteStartArray(key);
        for (var type = 0; type < sequences.Length; type++)
        {
            foreach (var id in model.PrefixIds)
            {
                WriteTemplatePart(json, "SpecialToken", contents[id], type);
            }
            WriteTemplatePart(json, "Sequence", sequences[type], type);
            foreach (var id in model.SuffixIds)
            {
                WriteTemplatePart(json, "SpecialToken", contents[id], type);
            }
        }
        json.WriteEndArray();
    }

    private static void WriteTemplatePart(Utf8JsonWriter json, string kind, string id, int type)
    {
        json.WriteStartObject();
        json.WriteStartObject(kind);
        json.WriteString("id", id);
        json.WriteNumber("type_id", type);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteModel(Utf8JsonWriter json, ByteLevelBpeModel model)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteNull("unk_token");
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", false);
        json.WriteBoolean("byte_fallback", false);
        json.WriteBoolean("ignore_merges", model.IgnoreMerges);
        json.WriteStartObject("vocab");
        foreach (var (token, id) in model.Vocabulary.OrderBy(entry => entry.Value))
        {
            json.WriteNumber(token, id);
        }
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach (var (left, right) in model.Merges)
        {
            json.WriteStartArray();
            json.WriteStringValue(left);
            json.WriteStringValue(right);
            json.WriteEndArray();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
