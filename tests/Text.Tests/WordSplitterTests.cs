using CsCheck;
using Platform.Text.Tokenization;
using Xunit;

namespace Platform.Text.Tests;

public sealed class WordSplitterTests
{
    [Theory]
    [InlineData(SplitPatterns.Gpt2, "Hello world, it's 2026!  ok", "Hello| world|,| it|'s| 2026|!| | ok")]
    [InlineData(SplitPatterns.Llama3, "Hello world, IT'S 20261!\n\n ok", "Hello| world|,| IT|'S| |202|61|!\n\n| ok")]
    [InlineData(SplitPatterns.Qwen2, "a 12 _b", "a| |1|2| _|b")]
    [InlineData(SplitPatterns.Llama3, "😀a 𝒳𝒴 𐐷𐐨", "😀a| 𝒳𝒴| 𐐷𐐨")]
    [InlineData(SplitPatterns.Llama3, "\U0001D7D8\U0001D7D9\U0001D7DA\U0001D7DB", "\U0001D7D8\U0001D7D9\U0001D7DA|\U0001D7DB")]
    public void Text_is_cut_where_the_family_cuts_it(string pattern, string text, string expected)
    {
        Assert.Equal(expected.Split('|'), Words(new WordSplitter([pattern]), text));
    }

    [Fact]
    public void Words_together_are_the_text()
    {
        var splitter = new WordSplitter([@"\p{N}{1,3}", SplitPatterns.Gpt2]);
        Gen.String.Sample(text => Assert.Equal(text, string.Concat(Words(splitter, text))), iter: 2000);
    }

    [Fact]
    public void Form_C_composes_what_the_standard_composes()
    {
        Assert.Equal("é가각\u1E69ΐÅ", NormalizationFormC.Normalize("e\u0301\u1100\u1161\u1100\u1161\u11A8s\u0307\u0323\u03B9\u0308\u0301\u212B"));
        Assert.Equal("\u0958".Length + 1, NormalizationFormC.Normalize("\u0958").Length); // excluded from composition
        Assert.False(NormalizationFormC.MayChange("plain 漢字 éß😀"));
        Assert.True(NormalizationFormC.MayChange("e\u0301"));
    }

    private static List<string> Words(WordSplitter splitter, string text)
    {
        var words = new List<string>();
        splitter.Split(text, word => words.Add(word.ToString()));
        return words;
    }
}
