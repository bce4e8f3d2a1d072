using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Tests.Core;

public sealed class PromptPacingTests
{
    [Fact]
    public void Without_streams_a_prompt_may_take_the_whole_budget()
    {
        var pacing = Seen();
        Assert.Equal(2048, pacing.Budget(streams: 0));
    }

    [Fact]
    public void Beside_streams_an_iteration_stays_within_the_multiple_of_their_median()
    {
        // Streams take 10 ms, a prompt token 0.1 ms: within 80 % of 40 ms there is room for 220.
        Assert.InRange(Seen().Budget(streams: 3), 219, 221);
    }

    [Fact]
    public void A_prompt_advances_however_slow_its_tokens_are()
    {
        var pacing = new PromptPacing(2, 16, 2048);
        pacing.Record(3, 0, 0.001);
        pacing.Record(3, 64, 10);
        Assert.Equal(16, pacing.Budget(streams: 3));
    }

    [Fact]
    public void Before_anything_was_measured_beside_streams_a_part_of_the_budget_is_used() =>
        Assert.Equal(256, new PromptPacing(4, 16, 2048).Budget(streams: 1));

    [Fact]
    public void The_median_forgets_old_iterations()
    {
        var pacing = Seen();
        for (var i = 0; i < 40; i++)
            pacing.Record(3, 0, 0.020);
        Assert.Equal(0.020, pacing.MedianStreamSeconds);
    }

    private static PromptPacing Seen()
    {
        var pacing = new PromptPacing(4, 16, 2048);
        foreach (var seconds in new[] { 0.010, 0.500, 0.010 })
            pacing.Record(3, 0, seconds);
        pacing.Record(3, 100, 0.020);
        return pacing;
    }
}
