using System.Text.Json;

namespace Platform.Text.Tokenization;

/// <summary>
/// Tokenizers as SentencePiece trains them and Hugging Face converts them (Llama 2, Mistral): BPE over characters with byte
/// fallback; spaces become U+2581 by a normalizer (Prepend, Replace) or by a Metaspace pre-tokenizer, and turn back in a
/// decoder of Replace, ByteFallback, Fuse and perhaps Strip.
/// </summary>
internal sealed partial class TokenizerJsonReader
{
    private const string Underline = "\u2581";

    internal static bool HasByteFallback(JsonElement root) =>
        root.ValueKind == JsonValueKind.Object && root.TryGetProperty("model", out var model) && model.ValueKind == JsonValueKind.Object
        && model.TryGetProperty("byte_fallback", out var fallback) && fallback.ValueKind == JsonValueKind.True;

    internal MetaspaceBpeModel ReadMetaspace(JsonElement root, ReadOnlyMemory<byte> source)
    {
        var modelJson = Object(root, "model", "");
        foreach (var key in (string[])["dropout", "continuing_subword_prefix", "end_of_word_suffix"])
        {
            RequireNothing(modelJson, key);
        }
        var replaces = ReadSpaces(root, out var prepends);
        var (metaspace, prefixScheme, splits) = ReadMetaspacePreTokenizer(root);
        if (replaces == metaspace)
        {
            throw Error("pre_tokenizer", replaces
                ? "found Metaspace after a normalizer that replaces spaces already; one of them is supported"
                : $"nothing replaces spaces by '{Underline}'; a Replace normalizer or a Metaspace pre-tokenizer is supported");
        }
        RequireSpacesDecoder(root);
        if (prepends)
        {
            RefuseNormalizedTokens(root);
        }
        var (prefix, suffix) = ReadPostProcessor(root);
        var model = new MetaspaceBpeModel
        {
            Vocabulary = ReadEntries(modelJson),
            Merges = ReadMerges(modelJson),
            IgnoreMerges = Flag(modelJson, "ignore_merges", "model", false),
            AddedTokens = ReadAddedTokens(root),
            Prefix = prepends ? MetaspacePrefix.Always : prefixScheme,
            SplitsWords = splits,
            PrefixIds = prefix,
            SuffixIds = suffix,
            Source = source,
        };
        try
        {
            _ = new MetaspaceBpeTokenizer(model);
        }
        catch (ArgumentException e)
        {
            throw new TokenizerFormatException(file, "model", e.Message, e);
        }
        var unknown = prefix.Concat(suffix).FirstOrDefault(id => id >= model.VocabularySize, -1);
        return unknown < 0 ? model : throw Error("post_processor", $"the id {unknown} has no token");
    }

    /// <summary>Whether a normalizer replaces spaces, and whether it puts one before a text.</summary>
    private bool ReadSpaces(JsonElement root, out bool prepends)
    {
        var parts = Parts(root, "normalizer", "normalizers");
        prepends = parts.Count > 0 && TypeOf(parts[0], "normalizer") == "Prepend";
        if (prepends && Text(parts[0], "prepend", "normalizer") is var text && text != Underline)
        {
            throw Error("normalizer.prepend", $"found '{text}'; only '{Underline}' is supported");
        }
        var rest = prepends ? parts[1..] : parts;
        if (rest.Count > 1 || (prepends && rest.Count == 0) || (rest.Count == 1 && !Replaces(rest[0], "normalizer", " ", Underline)))
        {
            throw Error(
                "normalizer",
                $"found {string.Join(", ", parts.Select(part => TypeOf(part, "normalizer")))}; none, or Prepend '{Underline}' and Replace ' ' by '{Underline}' or Replace alone, is supported");
        }
        return rest.Count == 1;
    }

    private (bool IsThere, MetaspacePrefix Prefix, bool Splits) ReadMetaspacePreTokenizer(JsonElement root)
    {
        var parts = Parts(root, "pre_tokenizer", "pretokenizers");
        if (parts.Count == 0)
        {
            return (false, MetaspacePrefix.None, false);
        }
        if (parts.Count > 1 || TypeOf(parts[0], "pre_tokenizer") != "Metaspace")
        {
            throw Error("pre_tokenizer", $"found {string.Join(", ", parts.Select(part => TypeOf(part, "pre_tokenizer")))}; with byte fallback none or Metaspace is supported");
        }
        if (Text(parts[0], "replacement", "pre_tokenizer") is var replacement && replacement != Underline)
        {
            throw Error("pre_tokenizer.replacement", $"found '{replacement}'; only '{Underline}' is supported");
        }
        // Files from before there were schemes say add_prefix_space instead.
        var adds = Flag(parts[0], "add_prefix_space", "pre_tokenizer", true);
        var scheme = Text(parts[0], "prepend_scheme", "pre_tokenizer") ?? (adds ? "always" : "never");
        if (!adds && scheme != "never")
        {
            throw Error("pre_tokenizer.add_prefix_space", $"found false, but prepend_scheme is '{scheme}'");
        }
        var prefix = scheme switch
        {
            "always" => MetaspacePrefix.UnlessThere,
            "first" => MetaspacePrefix.AtStartUnlessThere,
            "never" => MetaspacePrefix.None,
            _ => throw Error("pre_tokenizer.prepend_scheme", $"found '{scheme}'; always, first or never is supported"),
        };
        return (true, prefix, Flag(parts[0], "split", "pre_tokenizer", true));
    }

    /// <summary>Whether the bytes of tokens can be put together as they are.</summary>
    private void RequireSpacesDecoder(JsonElement root)
    {
        var parts = Parts(root, "decoder", "decoders");
        var types = parts.Select(part => TypeOf(part, "decoder")).ToList();
        var known = types is ["Replace", "ByteFallback", "Fuse"] or ["Replace", "ByteFallback", "Fuse", "Strip"] && Replaces(parts[0], "decoder", Underline, " ");
        // What Strip takes is the space before a text, which a stream that goes on from a prompt keeps.
        if (!known || (types.Count == 4 && Text(parts[3], "content", "decoder") != " "))
        {
            throw Error("decoder", $"found {string.Join(", ", types)}; Replace '{Underline}' by ' ', ByteFallback, Fuse and perhaps Strip ' ' is supported");
        }
    }

    private bool Replaces(JsonElement part, string key, string what, string by) =>
        TypeOf(part, key) == "Replace" && Text(part, "content", key) == by
        && part.TryGetProperty("pattern", out var pattern) && pattern.ValueKind == JsonValueKind.Object && Text(pattern, "String", key) == what;

    /// <summary>A token that is looked for in normalized text would only be found after the space that is put there.</summary>
    private void RefuseNormalizedTokens(JsonElement root)
    {
        if (!root.TryGetProperty("added_tokens", out var list) || list.ValueKind != JsonValueKind.Array)
        {
            return;
        }
        foreach (var entry in list.EnumerateArray())
        {
            if (entry.ValueKind == JsonValueKind.Object && Flag(entry, "normalized", "added_tokens", false))
            {
                throw Error("added_tokens", $"found normalized true for {(entry.TryGetProperty("content", out var content) ? content.GetRawText() : "a token")}; with a Prepend normalizer only false is supported");
            }
        }
    }
}
