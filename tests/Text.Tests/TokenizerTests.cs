using System.Text;
using CsCheck;
using Platform.Text.Tokenization;
using Platform.Text.Training;
using Xunit;

namespace Platform.Text.Tests;

public sealed class TokenizerTests
{
    private static readonly ByteLevelBpeModel Model = BpeTrainer.Train(SampleText.Paragraphs(400), new BpeTrainingOptions { VocabularySize = 600 }, null, TestContext.Current.CancellationToken);
    private static readonly ByteLevelBpeTokenizer Tokenizer = new(Model);

    /// <summary>Text of every plane: letters, marks, emoji, controls, Hangul, lone surrogates left out.</summary>
    private static readonly Gen<string> AnyText = Gen.OneOf<string>(
        Gen.Char[' ', '~'].Select(c => c.ToString()),
        Gen.OneOf(" ", "\n", "\r\n", "\t", "\0", "é", "e\u0301", "漢", "가", "ß", "١", "½", "😀", "👩‍👩‍👧", "🇫🇷", "𝒳", "𐐷", "\u200D", "\uFFFD", "'s", "don't", "<|im_end|>", "12345")).Array[0, 40].Select(parts => string.Concat(parts));

    [Fact]
    public void Training_twice_gives_the_same_tokenizer()
    {
        var again = BpeTrainer.Train(SampleText.Paragraphs(400), new BpeTrainingOptions { VocabularySize = 600 }, null, TestContext.Current.CancellationToken);
        Assert.Equal(TokenizerJson.ToUtf8(Model), TokenizerJson.ToUtf8(again));
        Assert.Equal(600, Model.VocabularySize);
        Assert.Equal(597, Model.AddedTokens[0].Id);
    }

    [Fact]
    public void The_order_of_texts_does_not_matter()
    {
        var reversed = BpeTrainer.Train(SampleText.Paragraphs(400).Reverse(), new BpeTrainingOptions { VocabularySize = 600 }, null, TestContext.Current.CancellationToken);
        Assert.Equal(Model.Merges, reversed.Merges);
    }

    [Fact]
    public void Merges_are_those_of_the_textbook_algorithm()
    {
        var texts = SampleText.Paragraphs(30).ToList();
        var model = BpeTrainer.Train(texts, new BpeTrainingOptions { VocabularySize = 256 + 120, SpecialTokens = [] }, null, TestContext.Current.CancellationToken);
        Assert.Equal(TextbookBpe.Train(texts, 120), model.Merges.Select(merge => merge.Left + " " + merge.Right));
    }

    [Fact]
    public void A_poor_text_gives_fewer_tokens_and_no_error()
    {
        var model = BpeTrainer.Train(["abab"], new BpeTrainingOptions { VocabularySize = 1000, MinimumFrequency = 1 }, null, TestContext.Current.CancellationToken);
        Assert.Equal(256 + 2 + 3, model.VocabularySize);
    }

    [Fact]
    public void Options_out_of_range_are_reported_together()
    {
        var error = Assert.Throws<ArgumentException>(() => BpeTrainer.Train([], new BpeTrainingOptions { VocabularySize = 100, MinimumFrequency = 0 }, null, TestContext.Current.CancellationToken));
        Assert.Contains("vocab_size is 100", error.Message, StringComparison.Ordinal);
        Assert.Contains("minimum_frequency is 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Training_ends_when_cancelled()
    {
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.Throws<OperationCanceledException>(() => BpeTrainer.Train(["text"], new BpeTrainingOptions { VocabularySize = 300 }, null, source.Token));
    }

    [Fact]
    public void Any_text_round_trips()
    {
        AnyText.Sample(text => Assert.Equal(text, Tokenizer.Decode(Tokenizer.Encode(text))), iter: 2000);
    }

    [Fact]
    public void Any_text_round_trips_through_its_special_tokens()
    {
        AnyText.Sample(text => Assert.Equal(text, Tokenizer.Decode(Tokenizer.Encode(text, EncodeOptions.ParseSpecialTokens), skipSpecialTokens: false)), iter: 2000);
    }

    [Fact]
    public void Merging_by_the_library_and_the_own_way_agree()
    {
        var own = new BpeMerger(BpeTables.MergeRanks(Model));
        var byteIds = BpeTables.ByteIds(Model);
        var splitter = new WordSplitter(Model.Splits);
        AnyText.Sample(
            text =>
            {
                var expected = new List<int>();
                splitter.Split(text, word => own.Merge([.. Encoding.UTF8.GetBytes(word.ToString()).Select(value => byteIds[value])], expected));
                Assert.Equal(expected, Tokenizer.Encode(text));
            },
            iter: 2000);
    }

    [Fact]
    public void Very_long_words_are_encoded()
    {
        var text = string.Concat(Enumerable.Repeat("documentation", 20_000));
        var ids = Tokenizer.Encode(text);
        Assert.Equal(text, Tokenizer.Decode(ids));
        Assert.True(ids.Count < text.Length / 2);
    }

    [Fact]
    public void Threads_that_encode_at_once_agree()
    {
        var texts = SampleText.Paragraphs(200).ToList();
        var fresh = new ByteLevelBpeTokenizer(Model);
        var expected = texts.Select(text => Tokenizer.Encode(text)).ToList();
        Parallel.For(0, texts.Count * 4, new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = TestContext.Current.CancellationToken }, i => Assert.Equal(expected[i % texts.Count], fresh.Encode(texts[i % texts.Count])));
    }

    [Fact]
    public void Special_tokens_are_parsed_only_where_asked()
    {
        var end = Tokenizer.SpecialTokens["<|im_end|>"];
        Assert.DoesNotContain(end, Tokenizer.Encode("a<|im_end|>b"));
        var ids = Tokenizer.Encode("a<|im_end|>b", EncodeOptions.ParseSpecialTokens);
        Assert.Equal(3, ids.Count);
        Assert.Equal(end, ids[1]);
        Assert.Equal("ab", Tokenizer.Decode(ids));
        Assert.Equal("a<|im_end|>b", Tokenizer.Decode(ids, skipSpecialTokens: false));
    }

    [Fact]
    public void Lone_surrogates_become_replacement_characters()
    {
        Assert.Equal("a\uFFFDb\uFFFD", Tokenizer.Decode(Tokenizer.Encode("a\uD800b\uDC00")));
    }

    [Fact]
    public void Ids_without_a_token_add_nothing()
    {
        Assert.Equal("a", Tokenizer.Decode([97, 100_000, -5]));
    }

    [Fact]
    public void The_streaming_decoder_gives_what_decoding_at_once_gives_and_never_half_a_character()
    {
        Gen.Select(AnyText, Gen.Int[0, 255].Array[0, 6]).Sample(
            (text, noise) =>
            {
                int[] ids = [.. Tokenizer.Encode(text), .. noise, .. Tokenizer.Encode(text)];
                var decoder = new StreamingDecoder(Tokenizer);
                var pieces = ids.Select(decoder.Append).ToList();
                pieces.Add(decoder.Flush());
                Assert.Equal(Tokenizer.Decode(ids), string.Concat(pieces));
                Assert.All(pieces, piece => Assert.True(piece.Length == 0 || (!char.IsLowSurrogate(piece[0]) && !char.IsHighSurrogate(piece[^1]))));
            },
            iter: 2000);
    }

    [Fact]
    public void The_streaming_decoder_holds_an_emoji_back_until_it_is_whole()
    {
        var bytes = new ByteLevelBpeTokenizer(ByteLevelBpeModel.Bytes(["<eos>"]));
        var decoder = new StreamingDecoder(bytes);
        var pieces = bytes.Encode("a😀b").Select(decoder.Append);
        Assert.Equal(["a", "", "", "", "😀", "b"], pieces);
        Assert.Equal("", decoder.Append(256));
        Assert.Equal("", decoder.Append(0xF0));
        Assert.Equal("\uFFFD", decoder.Flush());
    }

    [Fact]
    public void A_byte_tokenizer_has_one_token_per_byte()
    {
        var bytes = new ByteLevelBpeTokenizer(ByteLevelBpeModel.Bytes(["<|endoftext|>"]));
        Assert.Equal(257, bytes.VocabularySize);
        Assert.Equal(Encoding.UTF8.GetBytes("héllo 😀").Select(value => (int)value), bytes.Encode("héllo 😀"));
    }
}
