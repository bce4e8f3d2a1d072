using Platform.Serving.Core.Scheduling;
using Platform.Serving.Core.Speculation;

namespace Platform.Serving.Tests.Core;

public sealed class DraftCoverageTests
{
    [Fact]
    public void Neither_wrong_guesses_nor_what_former_owners_had_counts()
    {
        var (scheduler, coverage) = Create(caching: false);
        var sequence = Submit(scheduler, 1, [.. Enumerable.Range(0, 20)]);
        Step(scheduler, coverage, 100);
        Assert.Equal(0, coverage.Of(sequence));
        coverage.Advance(new ScheduledSpan(sequence, 0, 21));
        Assert.Equal(20, coverage.Of(sequence));

        // Three guesses, computed one after the other; the first is right.
        scheduler.Propose(sequence, [7, 8, 9]);
        var plan = scheduler.Plan(100);
        coverage.Restart(plan.Spans[0]);
        coverage.Advance(new ScheduledSpan(sequence, 20, 1));
        coverage.Advance(new ScheduledSpan(sequence, 21, 1, 1));
        coverage.Advance(new ScheduledSpan(sequence, 22, 1, 2));
        scheduler.Apply(plan, [new(sequence, 7, false), new(sequence, 50, false)]);
        Assert.Equal(22, sequence.ComputedTokens);
        Assert.Equal(22, coverage.Of(sequence));
        Step(scheduler, coverage, 51);
        Assert.Equal(22, coverage.Of(sequence));

        scheduler.Abort(sequence);
        var next = Submit(scheduler, 2, [.. Enumerable.Range(0, 20)]);
        Step(scheduler, coverage, 100);
        Assert.Equal(0, coverage.Of(next));
    }

    [Fact]
    public void A_shared_prefix_counts_for_everyone_who_shares_it()
    {
        var (scheduler, coverage) = Create(caching: true);
        var first = Submit(scheduler, 1, [.. Enumerable.Range(0, 20)]);
        Step(scheduler, coverage, 100);
        coverage.Advance(new ScheduledSpan(first, 0, 21));
        var second = Submit(scheduler, 2, [.. Enumerable.Range(0, 20)]);
        Step(scheduler, coverage, 100);
        Assert.Equal(16, second.CachedPromptTokens);
        Assert.Equal(16, coverage.Of(second));
        Assert.Equal(20, coverage.Of(first));
    }

    private static (IterationScheduler Scheduler, DraftCoverage Coverage) Create(bool caching) => (
        new IterationScheduler(new SchedulerLimits
        {
            MaxSequences = 4,
            MaxBatchedTokens = 64,
            MaxWaiting = 4,
            ContextLength = 64,
            BlockSize = 16,
            BlockCount = 8,
            PrefixCaching = caching,
        }),
        new DraftCoverage(8, 16));

    private static SequenceState Submit(IterationScheduler scheduler, long id, int[] tokens) =>
        Assert.Single(Assert.IsType<Admission.Accepted>(scheduler.Submit(new SequenceRequest(id, tokens, tokens.Length, 60, "t"))).Sequences);

    private static void Step(IterationScheduler scheduler, DraftCoverage coverage, int token)
    {
        var plan = scheduler.Plan(64);
        var sampled = new List<SampledToken>();
        foreach (var span in plan.Spans)
        {
            coverage.Restart(span);
            if (span.Samples)
                sampled.Add(new(span.Sequence, token, false));
        }

        scheduler.Apply(plan, [.. sampled]);
    }
}
