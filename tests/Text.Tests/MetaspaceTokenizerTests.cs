using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using Platform.Text.Tokenization;
using Xunit;

namespace Platform.Text.Tests;

/// <summary>Tokenizers of the Llama 2 and Mistral families: characters, U+2581 for spaces, bytes for what has no token.</summary>
public sealed class MetaspaceTokenizerTests
{
    private static readonly string[] Merges =
        ["a \u2581", "h e", "l l", "he ll", "hell o", "\u2581 hello", "\u2581 w", "o r", "\u2581w or", "\u2581wor ld", "l d", "\u2581 \u2581", "[ I"];

    private const string Prepended = """{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""";

    private static string Metaspace(string settings) => $$"""{"type":"Metaspace","replacement":"▁",{{settings}}}""";

    public static TheoryData<string?, string?, string, string> Encodings => new()
    {
        { Prepended, null, "hello world", "▁hello ▁world" },
        { Prepended, null, " hello", "▁ ▁hello" },
        { Prepended, null, "hello</s>hello", "▁hello </s> ▁hello" },
        { Prepended, null, "<s>", "<s>" },
        { Prepended, null, "aé\n", "▁ a <0xC3> <0xA9> <0x0A>" },
        { Prepended, null, "a hello", "▁ a▁ hello" },
        { null, Metaspace("\"prepend_scheme\":\"first\",\"split\":false"), "hello</s>hello", "▁hello </s> hello" },
        { null, Metaspace("\"prepend_scheme\":\"first\",\"split\":false"), "<s>hello world", "<s> hello ▁world" },
        { null, Metaspace("\"prepend_scheme\":\"first\",\"split\":false"), "a hello", "▁ a▁ hello" },
        { null, Metaspace("\"prepend_scheme\":\"first\",\"split\":true"), "a hello", "▁ a ▁hello" },
        { null, Metaspace("\"prepend_scheme\":\"always\",\"split\":true"), "hello  hello</s>hello", "▁hello ▁ ▁hello </s> ▁hello" },
        { null, Metaspace("\"prepend_scheme\":\"always\""), " hello", "▁hello" },
        { null, Metaspace("\"add_prefix_space\":true"), "hello", "▁hello" },
        { null, Metaspace("\"add_prefix_space\":false"), "hello hello", "hello ▁hello" },
        { null, Metaspace("\"prepend_scheme\":\"never\""), "hello hello", "hello ▁hello" },
    };

    [Theory]
    [MemberData(nameof(Encodings))]
    public void Spaces_and_bytes_are_spelled_as_each_form_of_the_file_says(string? normalizer, string? preTokenizer, string text, string tokens)
    {
        var tokenizer = new MetaspaceBpeTokenizer(Parse(Document(normalizer, preTokenizer)));
        var ids = tokenizer.Encode(text, EncodeOptions.ParseSpecialTokens);
        Assert.Equal(tokens, string.Join(' ', ids.Select(id => NameOf(tokenizer.Model, id))));
        var decoded = tokenizer.Decode(ids, skipSpecialTokens: false);
        Assert.Equal(text.Replace(" ", "", StringComparison.Ordinal), decoded.Replace(" ", "", StringComparison.Ordinal));
    }

    [Fact]
    public void Special_tokens_are_added_and_parsed_only_where_asked()
    {
        var tokenizer = new MetaspaceBpeTokenizer(Parse(Document(Prepended, null)));
        Assert.Equal(1, tokenizer.Encode("hello", EncodeOptions.AddSpecialTokens)[0]);
        Assert.DoesNotContain(2, tokenizer.Encode("hello</s>"));
        Assert.Equal(" hello", tokenizer.Decode(tokenizer.Encode("hello", EncodeOptions.AddSpecialTokens)));
        Assert.True(tokenizer.IsSpecial(2));
    }

    [Fact]
    public void A_stream_holds_back_half_a_character_of_bytes()
    {
        var tokenizer = new MetaspaceBpeTokenizer(Parse(Document(Prepended, null)));
        var stream = new StreamingDecoder(tokenizer);
        var pieces = tokenizer.Encode("hello \U0001F600 é").Select(stream.Append).ToList();
        Assert.Equal(" hello \U0001F600 é", string.Concat(pieces) + stream.Flush());
        Assert.DoesNotContain(pieces, piece => piece.Contains('\uFFFD', StringComparison.Ordinal));
        Assert.Equal(3, pieces.Count(piece => piece.Length == 0) - 1);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Any_text_is_merged_as_the_textbook_says_and_decodes_to_itself(bool splits)
    {
        var model = Parse(Document(null, Metaspace($"\"prepend_scheme\":\"never\",\"split\":{(splits ? "true" : "false")}")));
        var tokenizer = new MetaspaceBpeTokenizer(model);
        var letters = Gen.OneOf("h", "e", "l", "o", "w", "r", "d", "a", "[", "I", " ", "hello", " wor", "ld", "é", "\U0001F600", "\n", "\uD800", "▁");
        letters.Array[0, 40].Select(string.Concat).Sample(
            text =>
            {
                var ids = tokenizer.Encode(text);
                Assert.Equal(Textbook(model, text, splits), ids);
                Assert.Equal(Repaired(text).Replace('▁', ' '), tokenizer.Decode(ids));
            },
            iter: 2000);
    }

    public static TheoryData<string, string, string> Unsupported => new()
    {
        { "normalizer", """{"type":"NFKC"}""", "NFKC" },
        { "normalizer", """{"type":"Prepend","prepend":"▁"}""", "Prepend" },
        { "normalizer", """{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"_"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""", "'_'" },
        { "normalizer", """{"type":"Replace","pattern":{"String":" "},"content":"_"}""", "Replace" },
        { "normalizer", """{"type":"Replace","pattern":{"Regex":" +"},"content":"▁"}""", "Replace" },
        { "normalizer", "null", "nothing replaces spaces" },
        { "pre_tokenizer", """{"type":"ByteLevel"}""", "ByteLevel" },
        { "pre_tokenizer", """{"type":"Metaspace","replacement":"▁"}""", "one of them" },
        { "pre_tokenizer", """{"type":"Metaspace","replacement":"_"}""", "'_'" },
        { "pre_tokenizer", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"last"}""", "last" },
        { "pre_tokenizer", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","add_prefix_space":false}""", "add_prefix_space" },
        { "decoder", "null", "ByteFallback" },
        { "decoder", """{"type":"Metaspace"}""", "Metaspace" },
        { "model.dropout", "0.1", "dropout" },
        { "model.merges", """["h zz"]""", "lacks" },
        { "model.vocab", """{"a":0}""", "<0x00>" },
        { "model.vocab", """{"a":-1}""", "id" },
        { "added_tokens", """[{"id":1,"content":"<s>","special":true,"normalized":true}]""", "normalized" },
        { "added_tokens", """[{"id":1,"content":"<s>","lstrip":true}]""", "lstrip" },
        { "added_tokens", """[{"id":5,"content":"<x>"}]""", "share" },
        { "post_processor", """{"type":"BertProcessing"}""", "BertProcessing" },
    };

    [Theory]
    [MemberData(nameof(Unsupported))]
    public void What_is_not_supported_is_named_and_not_guessed(string key, string value, string reason)
    {
        var root = Document(Prepended, null);
        var path = key.Split('.');
        var parent = path.Length == 1 ? root : (JsonObject)root[path[0]]!;
        parent[path[^1]] = JsonNode.Parse(value);
        Assert.Contains(reason, Assert.Throws<TokenizerFormatException>(() => Parse(root)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_directory_gives_the_tokenizer_and_writes_its_file_again_as_it_was()
    {
        var (from, to) = (Directory.CreateTempSubdirectory("platform-text-"), Directory.CreateTempSubdirectory("platform-text-"));
        try
        {
            File.WriteAllText(Path.Combine(from.FullName, "tokenizer.json"), Document(Prepended, null).ToJsonString());
            File.WriteAllText(Path.Combine(from.FullName, "tokenizer_config.json"), """{"bos_token":"<s>","eos_token":"</s>","unk_token":"<unk>"}""");
            var opened = TokenizerDirectory.Open(from.FullName);
            Assert.Equal((1, 2), (opened.Tokenizer.BeginOfSequenceId, opened.Tokenizer.EndOfSequenceId));
            opened.Save(to.FullName);
            Assert.Equal(File.ReadAllText(Path.Combine(from.FullName, "tokenizer.json")), File.ReadAllText(Path.Combine(to.FullName, "tokenizer.json")));
            Assert.Equal(opened.Tokenizer.Encode("hello wörld"), TokenizerDirectory.Open(to.FullName).Tokenizer.Encode("hello wörld"));
        }
        finally
        {
            from.Delete(recursive: true);
            to.Delete(recursive: true);
        }
    }

    /// <summary>Merges the pair of the lowest rank, the leftmost first, until none is left.</summary>
    private static List<int> Textbook(MetaspaceBpeModel model, string text, bool splits)
    {
        var marked = Repaired(text).Replace(' ', '▁');
        var words = splits ? Words(marked) : [marked];
        var ids = new List<int>();
        foreach (var word in words.Where(word => word.Length > 0))
        {
            var symbols = new List<string>();
            foreach (var rune in word.EnumerateRunes())
            {
                if (model.Vocabulary.ContainsKey(rune.ToString()))
                    symbols.Add(rune.ToString());
                else
                    symbols.AddRange(Encoding.UTF8.GetBytes(rune.ToString()).Select(MetaspaceBpeModel.ByteToken));
            }

            foreach (var (left, right) in Repeated(model.Merges, symbols))
            {
                var at = Enumerable.Range(0, symbols.Count - 1).First(i => symbols[i] == left && symbols[i + 1] == right);
                symbols[at] += symbols[at + 1];
                symbols.RemoveAt(at + 1);
            }

            ids.AddRange(symbols.Select(symbol => model.Vocabulary[symbol]));
        }

        return ids;
    }

    private static IEnumerable<BpeMerge> Repeated(IReadOnlyList<BpeMerge> merges, List<string> symbols)
    {
        while (true)
        {
            var pairs = Enumerable.Range(0, Math.Max(0, symbols.Count - 1)).Select(i => new BpeMerge(symbols[i], symbols[i + 1])).ToHashSet();
            if (!merges.Any(pairs.Contains))
                yield break;
            yield return merges.First(pairs.Contains);
        }
    }

    private static List<string> Words(string text)
    {
        var words = new List<string> { "" };
        foreach (var c in text)
        {
            if (c == '▁')
                words.Add("");
            words[^1] += c;
        }

        return words;
    }

    private static string Repaired(string text) => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));

    private static string NameOf(MetaspaceBpeModel model, int id) =>
        model.AddedTokens.FirstOrDefault(token => token.Id == id)?.Content ?? model.Vocabulary.First(entry => entry.Value == id).Key;

    private static MetaspaceBpeModel Parse(JsonObject root) =>
        Assert.IsType<MetaspaceBpeModel>(TokenizerJson.ParseAny("test", Encoding.UTF8.GetBytes(root.ToJsonString())));

    private static JsonObject Document(string? normalizer, string? preTokenizer)
    {
        var vocabulary = new JsonObject { ["<unk>"] = 0, ["<s>"] = 1, ["</s>"] = 2 };
        for (var value = 0; value < 256; value++)
            vocabulary.Add($"<0x{value:X2}>", 3 + value);
        foreach (var token in "▁helowrda[I".Select(c => c.ToString()).Concat(Merges.Select(merge => merge.Replace(" ", "", StringComparison.Ordinal))))
            vocabulary.Add(token, vocabulary.Count);
        JsonNode? Added(int id, string content) => new JsonObject
        {
            ["id"] = id,
            ["content"] = content,
            ["single_word"] = false,
            ["lstrip"] = false,
            ["rstrip"] = false,
            ["normalized"] = false,
            ["special"] = true,
        };
        return new JsonObject
        {
            ["version"] = "1.0",
            ["added_tokens"] = new JsonArray(Added(0, "<unk>"), Added(1, "<s>"), Added(2, "</s>")),
            ["normalizer"] = normalizer is null ? null : JsonNode.Parse(normalizer),
            ["pre_tokenizer"] = preTokenizer is null ? null : JsonNode.Parse(preTokenizer),
            ["post_processor"] = JsonNode.Parse("""
                {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
                 "pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}
                """),
            ["decoder"] = JsonNode.Parse("""
                {"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
                 {"type":"Strip","content":" ","start":1,"stop":0}]}
                """),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = "<unk>",
                ["continuing_subword_prefix"] = null,
                ["end_of_word_suffix"] = null,
                ["fuse_unk"] = true,
                ["byte_fallback"] = true,
                ["vocab"] = vocabulary,
                ["merges"] = new JsonArray([.. Merges.Select(merge => (JsonNode)JsonValue.Create(merge))]),
            },
        };
    }
}
