using System.Text.Json;

namespace Platform.Text.Tokenization;

/// <summary>
/// Reads the parts of <c>tokenizer.json</c> that byte-level BPE families use: a BPE model; no normalizer or NFC; a
/// ByteLevel pre-tokenizer, alone or after Split by regular expression; a ByteLevel or template post-processor; added
/// tokens. And those of BPE families over characters with byte fallback (see the other part). Anything else would tokenize differently, so it is an error that names what was found.
/// </summary>
/// <param name="file">What to call the document in messages.</param>
internal sealed partial class TokenizerJsonReader(string file)
{
    internal ByteLevelBpeModel Read(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw Error("", $"found {root.ValueKind}; an object is expected");
        }
        var modelJson = Object(root, "model", "");
        var added = ReadAddedTokens(root);
        var (prefix, suffix) = ReadPostProcessor(root);
        RequireByteLevelDecoder(root);
        var model = new ByteLevelBpeModel
        {
            Vocabulary = ReadVocabulary(modelJson),
            Merges = ReadMerges(modelJson),
            IgnoreMerges = Flag(modelJson, "ignore_merges", "model", false),
            AddedTokens = added,
            Splits = ReadPreTokenizer(root),
            Normalization = ReadNormalizer(root),
            PrefixIds = prefix,
            SuffixIds = suffix,
        };
        try
        {
            // Building the tables and the expressions is the check that the parts fit together.
            _ = BpeTables.TokenBytes(model);
            _ = BpeTables.ByteIds(model);
            _ = BpeTables.MergeRanks(model);
            WordSplitter.Check(model.Splits);
        }
        catch (ArgumentException e)
        {
            throw new TokenizerFormatException(file, "model", e.Message, e);
        }
        catch (NotSupportedException e)
        {
            throw new TokenizerFormatException(file, "pre_tokenizer", e.Message, e);
        }
        var unknown = prefix.Concat(suffix).FirstOrDefault(id => id >= model.VocabularySize, -1);
        return unknown < 0 ? model : throw Error("post_processor", $"the id {unknown} has no token");
    }

    private Dictionary<string, int> ReadVocabulary(JsonElement model)
    {
        if (Text(model, "type", "model") is { } type && type != "BPE")
        {
            throw Error("model.type", $"found '{type}'; only BPE over bytes is supported");
        }
        foreach (var key in (string[])["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"])
        {
            RequireNothing(model, key);
        }
        if (Flag(model, "byte_fallback", "model", false))
        {
            throw Error("model.byte_fallback", "found true; a vocabulary with byte fallback is not byte-level");
        }
        return ReadEntries(model);
    }

    private void RequireNothing(JsonElement model, string key)
    {
        if (model.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null && !(value.ValueKind == JsonValueKind.String && value.ValueEquals("")))
        {
            throw Error($"model.{key}", $"found {value.GetRawText()}; only null is supported");
        }
    }

    private Dictionary<string, int> ReadEntries(JsonElement model)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var entry in Object(model, "vocab", "model").EnumerateObject())
        {
            if (!vocabulary.TryAdd(entry.Name, Id(entry.Value, $"model.vocab['{entry.Name}']")))
            {
                throw Error($"model.vocab['{entry.Name}']", "the token appears twice");
            }
        }
        return vocabulary;
    }

    private List<BpeMerge> ReadMerges(JsonElement model)
    {
        if (!model.TryGetProperty("merges", out var list) || list.ValueKind != JsonValueKind.Array)
        {
            throw Error("model.merges", "an array is required");
        }
        var merges = new List<BpeMerge>(list.GetArrayLength());
        foreach (var entry in list.EnumerateArray())
        {
            string[] parts = entry.ValueKind switch
            {
                JsonValueKind.String => (entry.GetString() ?? "").Split(' '),
                JsonValueKind.Array when entry.EnumerateArray().All(part => part.ValueKind == JsonValueKind.String)
                    => [.. entry.EnumerateArray().Select(part => part.GetString() ?? "")],
                _ => [],
            };
            if (parts.Length != 2 || parts[0].Length == 0 || parts[1].Length == 0)
            {
                throw Error($"model.merges[{merges.Count}]", $"found {entry.GetRawText()}; two tokens are expected");
            }
            merges.Add(new BpeMerge(parts[0], parts[1]));
        }
        return merges;
    }

    private List<AddedToken> ReadAddedTokens(JsonElement root)
    {
        var tokens = new List<AddedToken>();
        if (!root.TryGetProperty("added_tokens", out var list) || list.ValueKind == JsonValueKind.Null)
        {
            return tokens;
        }
        if (list.ValueKind != JsonValueKind.Array)
        {
            throw Error("added_tokens", $"found {list.ValueKind}; an array is expected");
        }
        var contents = new HashSet<string>(StringComparer.Ordinal);
        foreach (var entry in list.EnumerateArray())
        {
            var key = $"added_tokens[{tokens.Count}]";
            if (entry.ValueKind != JsonValueKind.Object || Text(entry, "content", key) is not { Length: > 0 } content || !contents.Add(content))
            {
                throw Error(key, "an object with a content that is not empty and not repeated is expected");
            }
            foreach (var flag in (string[])["single_word", "lstrip", "rstrip"])
            {
                if (Flag(entry, flag, key, false))
                {
                    throw Error($"{key}.{flag}", $"found true for '{content}'; only false is supported");
                }
            }
            var id = entry.TryGetProperty("id", out var value) ? Id(value, $"{key}.id") : throw Error($"{key}.id", "an id is required");
            tokens.Add(new AddedToken(id, content, Flag(entry, "special", key, false)));
        }
        return tokens;
    }

    private TextNormalization ReadNormalizer(JsonElement root)
    {
        var parts = Parts(root, "normalizer", "normalizers");
        return parts switch
        {
            [] => TextNormalization.None,
            [var only] when TypeOf(only, "normalizer") == "NFC" => TextNormalization.FormC,
            _ => throw Error("normalizer", $"found {string.Join(", ", parts.Select(part => TypeOf(part, "normalizer")))}; none or NFC is supported"),
        };
    }

    private List<string> ReadPreTokenizer(JsonElement root)
    {
        var splits = new List<string>();
        var parts = Parts(root, "pre_tokenizer", "pretokenizers");
        for (var i = 0; i < parts.Count; i++)
        {
            var type = TypeOf(parts[i], "pre_tokenizer");
            if (type == "Split")
            {
                splits.Add(ReadSplit(parts[i]));
            }
            else if (type != "ByteLevel" || i != parts.Count - 1)
            {
                throw Error("pre_tokenizer", $"found '{type}' as part {i + 1} of {parts.Count}; Split by Regex, then ByteLevel as the last, is supported");
            }
            else if (Flag(parts[i], "add_prefix_space", "pre_tokenizer", true))
            {
                throw Error("pre_tokenizer.add_prefix_space", "found true; only false is supported");
            }
            else if (Flag(parts[i], "use_regex", "pre_tokenizer", true))
            {
                splits.Add(SplitPatterns.Gpt2);
            }
        }
        return parts.Count > 0 && TypeOf(parts[^1], "pre_tokenizer") == "ByteLevel"
            ? splits
            : throw Error("pre_tokenizer", "there is no ByteLevel; only byte-level tokenizers are supported");
    }

    private string ReadSplit(JsonElement split)
    {
        var behavior = Text(split, "behavior", "pre_tokenizer");
        if (behavior != "Isolated" || Flag(split, "invert", "pre_tokenizer", false))
        {
            throw Error("pre_tokenizer.behavior", $"found '{behavior}'{(behavior == "Isolated" ? " with invert" : "")}; only Isolated without invert is supported");
        }
        var pattern = Object(split, "pattern", "pre_tokenizer");
        return Text(pattern, "Regex", "pre_tokenizer.pattern")
            ?? throw Error("pre_tokenizer.pattern", $"found {pattern.GetRawText()}; only a Regex is supported");
    }

    private (List<int> Prefix, List<int> Suffix) ReadPostProcessor(JsonElement root)
    {
        List<int> prefix = [];
        List<int> suffix = [];
        foreach (var part in Parts(root, "post_processor", "processors"))
        {
            switch (TypeOf(part, "post_processor"))
            {
                case "ByteLevel": // moves character offsets only
                    break;
                case "TemplateProcessing" when prefix.Count + suffix.Count == 0:
                    ReadTemplate(part, prefix, suffix);
                    break;
                case var type:
                    throw Error("post_processor", $"found '{type}'; ByteLevel and one TemplateProcessing are supported");
            }
        }
        return (prefix, suffix);
    }

    private void ReadTemplate(JsonElement processor, List<int> prefix, List<int> suffix)
    {
        if (!processor.TryGetProperty("single", out var single) || single.ValueKind != JsonValueKind.Array)
        {
            throw Error("post_processor.single", "an array is required");
        }
        var special = Object(processor, "special_tokens", "post_processor");
        var seenText = false;
        foreach (var part in single.EnumerateArray())
        {
            if (part.ValueKind == JsonValueKind.Object && part.TryGetProperty("SpecialToken", out var token) && token.ValueKind == JsonValueKind.Object)
            {
                var name = Text(token, "id", "post_processor.single") ?? "";
                var entry = Object(special, name, "post_processor.special_tokens");
                if (!entry.TryGetProperty("ids", out var ids) || ids.ValueKind != JsonValueKind.Array)
                {
                    throw Error($"post_processor.special_tokens['{name}'].ids", "an array is required");
                }
                (seenText ? suffix : prefix).AddRange(ids.EnumerateArray().Select(id => Id(id, "post_processor.special_tokens")));
            }
            else if (part.ValueKind == JsonValueKind.Object && part.TryGetProperty("Sequence", out _) && !seenText)
            {
                seenText = true;
            }
            else
            {
                throw Error("post_processor.single", $"found {part.GetRawText()}; special tokens around one sequence are supported");
            }
        }
    }

    private void RequireByteLevelDecoder(JsonElement root)
    {
        foreach (var part in Parts(root, "decoder", "decoders"))
        {
            if (TypeOf(part, "decoder") is var type && type != "ByteLevel")
            {
                throw Error("decoder", $"found '{type}'; only ByteLevel is supported");
            }
        }
    }

    /// <summary>The parts of a Sequence, a part that stands alone, or none.</summary>
    private List<JsonElement> Parts(JsonElement root, string key, string listKey)
    {
        if (!root.TryGetProperty(key, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return [];
        }
        if (TypeOf(value, key) != "Sequence")
        {
            return [value];
        }
        return value.TryGetProperty(listKey, out var list) && list.ValueKind == JsonValueKind.Array
            ? [.. list.EnumerateArray()]
            : throw Error($"{key}.{listKey}", "an array is required");
    }

    private string TypeOf(JsonElement value, string key) => value.ValueKind == JsonValueKind.Object
        ? Text(value, "type", key) ?? throw Error($"{key}.type", "a type is required")
        : throw Error(key, $"found {value.ValueKind}; an object is expected");

    private JsonElement Object(JsonElement parent, string key, string path) =>
        parent.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Object
            ? value
            : throw Error(path.Length == 0 ? key : $"{path}.{key}", "an object is required");

    private string? Text(JsonElement parent, string key, string path) => !parent.TryGetProperty(key, out var value) || value.ValueKind == JsonValueKind.Null
        ? null
        : value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : throw Error($"{path}.{key}", $"found {value.ValueKind}; a string is expected");

    private bool Flag(JsonElement parent, string key, string path, bool fallback) => !parent.TryGetProperty(key, out var value)
        ? fallback
        : value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Error($"{path}.{key}", $"found {value.GetRawText()}; true or false is expected"),
        };

    private int Id(JsonElement value, string path) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) && id is >= 0 and < BpeTables.MaxId
        ? id
        : throw Error(path, $"found {value.GetRawText()}; an id from 0 to {BpeTables.MaxId - 1} is expected");

    private TokenizerFormatException Error(string key, string problem) => new(file, key, problem);
}
