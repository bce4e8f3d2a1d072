using CsCheck;
using Platform.Serving.Core.Output;

namespace Platform.Serving.Tests.Core;

public sealed class StopStringMatcherTests
{
    [Fact]
    public void Holds_back_what_may_become_a_stop_string()
    {
        var matcher = new StopStringMatcher(["END"]);
        Assert.Equal("a ", matcher.Push("a E"));
        Assert.Equal("", matcher.Push("N"));
        Assert.Equal("ENE", matcher.Push("EE"));
        Assert.Equal("", matcher.Push("ND and more"));
        Assert.True(matcher.IsStopped);
        Assert.Equal("", matcher.Push("x"));
        Assert.Equal("", matcher.Flush());
    }

    [Fact]
    public void The_end_of_the_stream_releases_what_was_held()
    {
        var matcher = new StopStringMatcher(["END"]);
        Assert.Equal("", matcher.Push("EN"));
        Assert.Equal("EN", matcher.Flush());
        Assert.False(matcher.IsStopped);
    }

    [Fact]
    public void A_stop_string_hidden_behind_a_longer_candidate_is_found_at_the_end()
    {
        var matcher = new StopStringMatcher(["abX", "b"]);
        Assert.Equal("", matcher.Push("ab"));
        Assert.Equal("a", matcher.Flush());
        Assert.True(matcher.IsStopped);
    }

    [Fact]
    public void Shows_the_text_before_the_earliest_stop_string_however_it_is_cut() =>
        Gen.Select(Gen.Char["ab"].Array[1, 4].Select(c => new string(c)).Array[0, 3], Gen.Char["abc"].Array[0, 30], Gen.Int[1, 4])
            .Sample((stops, characters, piece) =>
            {
                var text = new string(characters);
                var end = stops.Select(stop => text.IndexOf(stop, StringComparison.Ordinal)).Where(index => index >= 0).DefaultIfEmpty(text.Length).Min();
                var matcher = new StopStringMatcher(stops);
                var shown = "";
                for (var i = 0; i < text.Length; i += piece)
                {
                    shown += matcher.Push(text[i..Math.Min(text.Length, i + piece)]);
                    Assert.StartsWith(shown, text[..end], StringComparison.Ordinal);
                }

                shown += matcher.Flush();
                Assert.Equal(text[..end], shown);
                Assert.Equal(stops.Any(stop => text.Contains(stop, StringComparison.Ordinal)), matcher.IsStopped);
            }, iter: 20_000, threads: 1);
}
