using Platform.Serving.Core.Speculation;

namespace Platform.Serving.Tests.Core;

public sealed class PromptLookupTests
{
    [Theory]
    [InlineData(new[] { 1, 2, 3, 4, 5, 2, 3 }, 4, new[] { 4, 5, 2, 3 })]
    [InlineData(new[] { 1, 2, 3, 9, 2, 3, 8, 2, 3 }, 1, new[] { 8 })]
    [InlineData(new[] { 7, 7, 7, 7 }, 4, new[] { 7 })]
    [InlineData(new[] { 1, 2, 3 }, 4, new int[0])]
    [InlineData(new[] { 1 }, 4, new int[0])]
    public void The_tokens_after_the_last_longest_match_are_the_guess(int[] tokens, int most, int[] expected)
    {
        var drafts = new int[most];
        Assert.Equal(expected, drafts[..PromptLookup.Guess(tokens, 1, 3, drafts)]);
    }
}
