using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using Platform.Text.Tokenization;
using Platform.Text.Training;
using Xunit;

namespace Platform.Text.Tests;

public sealed class TokenizerJsonTests
{
    private static readonly ByteLevelBpeModel Trained = BpeTrainer.Train(SampleText.Paragraphs(100), new BpeTrainingOptions { VocabularySize = 400 }, null, TestContext.Current.CancellationToken);

    public static TheoryData<string> Variants => ["own", "gpt2", "llama3", "qwen2"];

    [Theory]
    [MemberData(nameof(Variants))]
    public void A_written_tokenizer_reads_back_equal(string variant)
    {
        var model = Variant(variant);
        var back = TokenizerJson.Parse(variant, TokenizerJson.ToUtf8(model));
        Assert.Equal(model.Vocabulary.OrderBy(entry => entry.Value), back.Vocabulary.OrderBy(entry => entry.Value));
        Assert.Equal(model.Merges, back.Merges);
        Assert.Equal(model.AddedTokens, back.AddedTokens);
        Assert.Equal(model.Splits, back.Splits);
        Assert.Equal(model.Normalization, back.Normalization);
        Assert.Equal(model.IgnoreMerges, back.IgnoreMerges);
        Assert.Equal(model.PrefixIds, back.PrefixIds);
        Assert.Equal(model.SuffixIds, back.SuffixIds);
        Assert.Equal(TokenizerJson.ToUtf8(model), TokenizerJson.ToUtf8(back));
        foreach (var text in SampleText.Paragraphs(20))
        {
            Assert.Equal(new ByteLevelBpeTokenizer(model).Encode(text), new ByteLevelBpeTokenizer(back).Encode(text));
        }
    }

    [Fact]
    public void Merges_may_be_strings_or_pairs()
    {
        var root = Json(Trained);
        root["model"]!["merges"] = new JsonArray([.. Trained.Merges.Select(merge => (JsonNode)JsonValue.Create($"{merge.Left} {merge.Right}"))]);
        Assert.Equal(Trained.Merges, Parse(root).Merges);
    }

    [Fact]
    public void A_template_adds_its_tokens_only_where_asked()
    {
        var model = Variant("llama3");
        var tokenizer = new ByteLevelBpeTokenizer(model);
        Assert.Equal(model.PrefixIds[0], tokenizer.Encode("hi", EncodeOptions.AddSpecialTokens)[0]);
        Assert.NotEqual(model.PrefixIds[0], tokenizer.Encode("hi")[0]);
    }

    [Fact]
    public void With_ignore_merges_a_word_that_is_a_token_is_taken_whole()
    {
        // "the" is a token that no merge makes.
        var vocabulary = new Dictionary<string, int>(ByteLevelBpeModel.Bytes([]).Vocabulary) { ["the"] = 256 };
        var model = ByteLevelBpeModel.Bytes([]) with { Vocabulary = vocabulary, IgnoreMerges = true };
        Assert.Equal([256], new ByteLevelBpeTokenizer(model).Encode("the"));
        Assert.Equal([.. "the"u8.ToArray().Select(value => (int)value)], new ByteLevelBpeTokenizer(model with { IgnoreMerges = false }).Encode("the"));
    }

    [Fact]
    public void Qwen_normalizes_to_form_C()
    {
        var tokenizer = new ByteLevelBpeTokenizer(Variant("qwen2"));
        Assert.Equal(tokenizer.Encode("caf\u00E9"), tokenizer.Encode("cafe\u0301"));
        var plain = new ByteLevelBpeTokenizer(Trained);
        Assert.NotEqual(plain.Encode("caf\u00E9"), plain.Encode("cafe\u0301"));
    }

    public static TheoryData<string, string, string> Unsupported => new()
    {
        { "model.type", "\"WordPiece\"", "WordPiece" },
        { "model.byte_fallback", "true", "byte_fallback" },
        { "model.unk_token", "\"[UNK]\"", "[UNK]" },
        { "model.dropout", "0.1", "dropout" },
        { "model.end_of_word_suffix", "\"@@\"", "@@" },
        { "model.merges", "[\"a b c\"]", "two tokens" },
        { "model.merges", "[\"a zz\"]", "lacks" },
        { "model.merges", "[\"a b\",\"a b\"]", "lacks" },
        { "model.vocab", "{\"a\":0}", "byte" },
        { "model.vocab", "{\"a\":-1}", "id" },
        { "model.vocab", "{\"a\":99999999}", "id" },
        { "normalizer", "{\"type\":\"Lowercase\"}", "Lowercase" },
        { "pre_tokenizer", "{\"type\":\"Metaspace\"}", "Metaspace" },
        { "pre_tokenizer", "null", "ByteLevel" },
        { "pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "add_prefix_space" },
        { "pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[[:alpha:]]+\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", "[[:" },
        { "pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", "not supported" },
        { "pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", "Removed" },
        { "post_processor", "{\"type\":\"BertProcessing\"}", "BertProcessing" },
        { "decoder", "{\"type\":\"Metaspace\"}", "Metaspace" },
        { "added_tokens", "[{\"id\":1,\"content\":\"<x>\",\"lstrip\":true}]", "lstrip" },
        { "added_tokens", "[{\"id\":97,\"content\":\"<x>\"}]", "share" },
    };

    [Theory]
    [MemberData(nameof(Unsupported))]
    public void What_is_not_supported_is_named_and_not_guessed(string key, string value, string reason)
    {
        var root = Json(Trained);
        var path = key.Split('.');
        var parent = path.Length == 1 ? root : (JsonObject)root[path[0]]!;
        parent[path[^1]] = JsonNode.Parse(value);
        Assert.Contains(reason, Assert.Throws<TokenizerFormatException>(() => Parse(root)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Any_mutation_of_a_file_is_read_or_refused_but_never_crashes()
    {
        var good = TokenizerJson.ToUtf8(ByteLevelBpeModel.Bytes(["<eos>"]) with { PrefixIds = [256] });
        Gen.Select(Gen.Int[0, good.Length - 1], Gen.Byte[32, 126], Gen.Bool).Array[1, 3].Sample(
            edits =>
            {
                var bytes = new List<byte>(good);
                foreach (var (at, value, insert) in edits)
                {
                    if (insert)
                    {
                        bytes.Insert(at, value);
                    }
                    else
                    {
                        bytes[at] = value;
                    }
                }
                try
                {
                    _ = TokenizerJson.Parse("mutated", bytes.ToArray());
                }
                catch (TokenizerFormatException)
                {
                }
            },
            iter: 1000);
    }

    [Fact]
    public void A_directory_gives_the_tokenizer_with_its_ends_and_template()
    {
        var directory = Directory.CreateTempSubdirectory("platform-text-");
        try
        {
            TokenizerDirectory.ForOwn(Trained, "{{ messages }}", 512).Save(directory.FullName);
            var opened = TokenizerDirectory.Open(directory.FullName);
            Assert.Equal(Trained.AddedTokens[0].Id, opened.Tokenizer.EndOfSequenceId);
            Assert.Null(opened.Tokenizer.BeginOfSequenceId);
            Assert.Equal("{{ messages }}", opened.Config.ChatTemplate);
            Assert.Equal(512, opened.Config.ModelMaxLength);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public void A_configuration_is_read_in_all_its_spellings()
    {
        var config = TokenizerConfig.Parse("test", Encoding.UTF8.GetBytes("""
            {"bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>","pad_token":null,"model_max_length":1000000000000000019884624838656,
             "chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]}
            """));
        Assert.Equal(("<s>", "</s>", null, "D", null), (config.BeginOfSequenceToken, config.EndOfSequenceToken, config.PaddingToken, config.ChatTemplate, config.ModelMaxLength));
        Assert.Throws<TokenizerFormatException>(() => TokenizerConfig.Parse("test", "{\"bos_token\":3}"u8.ToArray()));
    }

    private static ByteLevelBpeModel Variant(string name) => name switch
    {
        "gpt2" => Trained with { Splits = [SplitPatterns.Gpt2] },
        "llama3" => Trained with { Splits = [SplitPatterns.Llama3], IgnoreMerges = true, PrefixIds = [Trained.AddedTokens[0].Id] },
        "qwen2" => Trained with { Splits = [SplitPatterns.Qwen2], Normalization = TextNormalization.FormC, SuffixIds = [Trained.AddedTokens[0].Id] },
        _ => Trained,
    };

    private static JsonObject Json(ByteLevelBpeModel model) => (JsonObject)JsonNode.Parse(TokenizerJson.ToUtf8(model))!;

    private static ByteLevelBpeModel Parse(JsonObject root) => TokenizerJson.Parse("test", Encoding.UTF8.GetBytes(root.ToJsonString()));
}
