using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Tests.Core;

/// <summary>Runs a scheduler without a model: sampled tokens are a function of the tokens before them.</summary>
internal sealed class SchedulerDriver(IterationScheduler scheduler)
{
    private long _nextId;

    public IterationScheduler Scheduler { get; } = scheduler;

    public List<SequenceState> Accepted { get; } = [];

    public static SchedulerLimits Limits(
        int sequences = 4, int batched = 16, int waiting = 100, int context = 64, int blockSize = 4, int blocks = 16, bool caching = true) =>
        new()
        {
            MaxSequences = sequences,
            MaxBatchedTokens = batched,
            MaxWaiting = waiting,
            ContextLength = context,
            BlockSize = blockSize,
            BlockCount = blocks,
            PrefixCaching = caching,
        };

    public static int[] Prompt(int length, int seed = 0) => [.. Enumerable.Range(0, length).Select(i => (i * 7) + seed)];

    public Admission Submit(int[] prompt, int maxOutput, string salt = "t")
    {
        var admission = Scheduler.Submit(new SequenceRequest(_nextId++, prompt, prompt.Length, prompt.Length + maxOutput, salt));
        if (admission is Admission.Accepted accepted)
            Accepted.AddRange(accepted.Sequences);
        return admission;
    }

    public SequenceState Accept(int[] prompt, int maxOutput, string salt = "t") =>
        Assert.Single(Assert.IsType<Admission.Accepted>(Submit(prompt, maxOutput, salt)).Sequences);

    /// <summary>Plans and applies one iteration; returns (sequence id, start, count) of each span.</summary>
    public List<(long Id, int Start, int Count)> Step(int promptBudget = int.MaxValue)
    {
        var plan = Scheduler.Plan(promptBudget);
        var spans = plan.Spans.ToArray().Select(s => (s.Sequence.Id, s.Start, s.Count)).ToList();
        Apply(plan);
        return spans;
    }

    public void Apply(IterationPlan plan)
    {
        var sampled = new List<SampledToken>();
        foreach (var span in plan.Spans)
        {
            if (span.Samples)
                sampled.Add(new(span.Sequence, NextToken(span.Sequence), span.Sequence.Tokens.Length + 1 == span.Sequence.MaxTotalTokens));
        }

        Scheduler.Apply(plan, [.. sampled]);
    }

    public static int NextToken(SequenceState sequence)
    {
        var hash = 17;
        foreach (var token in sequence.Tokens)
            hash = unchecked((hash * 31) + token);
        return hash & 0xFF;
    }

    public void RunToEnd(int limit = 10_000)
    {
        for (var i = 0; Scheduler.HasWork; i++)
        {
            Assert.True(i < limit, "The scheduler does not come to an end.");
            Step();
        }
    }
}
