using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Tests.Core;

public sealed class PromptPacingTests
{
    [Fact]
    public void Without_streams_a_prompt_may_take_the_whole_budget()
    {
        var pacing = Seen();
        Assert.Equal(2048, pacing.Budget(streams: 0, context: 0));
    }

    [Fact]
    public void Beside_streams_an_iteration_stays_within_the_multiple_of_their_median()
    {
        // Streams take 10 ms, a prompt token 0.1 ms: within 90 % of 40 ms there is room for 260.
        Assert.InRange(Seen().Budget(streams: 3, context: 0), 259, 261);
    }

    [Fact]
    public void A_token_that_attends_to_more_costs_more()
    {
        // 0.1 ms a token and 0.5 µs for each token it attends to.
        var pacing = Seen(pairSeconds: 0.5e-6);
        var chunk = pacing.Budget(streams: 3, context: 1000);
        Assert.InRange((chunk * 100e-6) + (chunk * (1000 + (chunk / 2.0)) * 0.5e-6), 0.0235, 0.0261);
        Assert.InRange(pacing.Budget(streams: 3, context: 3000), 8, chunk - 10);
    }

    [Fact]
    public void What_chunks_exceed_their_prediction_by_is_kept_as_a_reserve()
    {
        var calm = Seen().Budget(streams: 3, context: 0);
        var pacing = Seen();
        for (var i = 0; i < 48; i++)
            pacing.Record(3, 200, 200 * 100, i % 4 == 0 ? 0.042 : 0.026);
        pacing.Record(3, 0, 0, 0.010);
        Assert.InRange(pacing.Budget(streams: 3, context: 0), 4, calm * 3 / 4);
    }

    [Fact]
    public void A_chunk_grows_at_most_twofold_over_what_was_tried()
    {
        var pacing = new PromptPacing(4, 4, 2048);
        pacing.Record(3, 0, 0, 0.010);
        Assert.Equal(4, pacing.Budget(streams: 3, context: 0));
        foreach (var expected in new[] { 16, 32, 64 })
        {
            // Rows that cost nothing tell nothing of those that come after them.
            pacing.Record(3, expected / 2, 0, 0.010);
            Assert.Equal(expected, pacing.Budget(streams: 3, context: 0));
        }
    }

    [Fact]
    public void Beside_prompts_that_never_end_the_median_is_still_measured()
    {
        var pacing = Seen();
        var probes = 0;
        for (var i = 0; i < 90; i++)
        {
            var budget = pacing.Budget(streams: 3, context: 0);
            probes += budget == 1 ? 1 : 0;
            pacing.Record(3, budget == 1 ? 0 : budget, 0, 0.010 + (budget * 100e-6));
        }

        Assert.Equal(10, probes);
    }

    [Fact]
    public void Streams_that_slow_down_while_a_prompt_is_admitted_allow_it_less()
    {
        var pacing = Seen();
        var before = pacing.Budget(streams: 3, context: 0);
        for (var i = 0; i < 40; i++)
            pacing.Record(3, 0, 0, 0.010);
        for (var i = 0; i < 9; i++)
            pacing.Record(3, 0, 0, 0.020);
        // 20 of the 36 ms are theirs.
        Assert.InRange(pacing.Budget(streams: 3, context: 0), 156, 164);
        Assert.InRange(before, 256, 264);
    }

    [Fact]
    public void A_prompt_advances_however_slow_its_tokens_are()
    {
        var pacing = new PromptPacing(2, 4, 2048);
        pacing.Record(3, 0, 0, 0.001);
        pacing.Record(3, 64, 0, 10);
        Assert.Equal(4, pacing.Budget(streams: 3, context: 0));
    }

    [Fact]
    public void Streams_are_measured_before_the_first_prompt_beside_them() =>
        Assert.Equal(1, new PromptPacing(4, 4, 2048).Budget(streams: 1, context: 0));

    [Fact]
    public void Deciding_allocates_nothing()
    {
        var pacing = Seen();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
        {
            pacing.Record(3, 0, 0, 0.010);
            pacing.Record(3, pacing.Budget(streams: 3, context: i), 50L * i, 0.020);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void The_median_forgets_old_iterations()
    {
        var pacing = Seen();
        for (var i = 0; i < 70; i++)
            pacing.Record(3, 0, 0, 0.020);
        Assert.Equal(0.020, pacing.MedianStreamSeconds);
    }

    /// <summary>Streams take 10 ms, a prompt token 0.1 ms and what it attends to.</summary>
    private static PromptPacing Seen(double pairSeconds = 0)
    {
        var pacing = new PromptPacing(4, 4, 2048);
        foreach (var seconds in new[] { 0.010, 0.500, 0.010 })
            pacing.Record(3, 0, 0, seconds);
        for (var context = 0; context < 2000; context += 200)
            pacing.Record(3, 200, 200 * (context + 100), 0.010 + (200 * 100e-6) + (200 * (context + 100) * pairSeconds));
        pacing.Record(3, 0, 0, 0.010);
        return pacing;
    }
}
