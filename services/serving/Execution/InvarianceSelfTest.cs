using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Execution;

/// <summary>
/// Checks on the machine at hand that a sequence's logits are the same bits alone and among others, whole and in chunks. It
/// also runs every kernel once before the first request.
/// </summary>
internal static class InvarianceSelfTest
{
    private const int PromptLength = 21;
    private const int OutputLength = 3;
    private static readonly int[] NeighbourCounts = [5];

    /// <summary>Compares; the executor must be unused, since its cache is overwritten.</summary>
    /// <returns>Null when all is well, else what differed.</returns>
    public static string? Run(IModelExecutor executor, SchedulerLimits limits)
    {
        var vocabulary = executor.Config.VocabSize;
        var prompt = Math.Min(PromptLength, limits.LongestSequence - OutputLength - 1);
        var needle = Tokens(prompt, 1, vocabulary);
        var expected = LogitsOf(executor, limits, needle, 0, limits.MaxBatchedTokens);
        foreach (var neighbours in NeighbourCounts)
        {
            if (neighbours >= limits.MaxSequences || limits.BlocksFor(prompt + OutputLength) * (neighbours + 1) > limits.BlockCount)
                break;
            foreach (var budget in new[] { limits.MaxBatchedTokens, 7 })
            {
                var found = LogitsOf(executor, limits, needle, neighbours, budget);
                for (var step = 0; step < expected.Count; step++)
                {
                    if (!expected[step].AsSpan().SequenceEqual(found[step]))
                        return $"the logits of step {step} differ beside {neighbours} other sequences with {budget} prompt tokens per iteration";
                }
            }
        }

        return null;
    }

    private static List<float[]> LogitsOf(IModelExecutor executor, SchedulerLimits limits, int[] needle, int neighbours, int budget)
    {
        var scheduler = new IterationScheduler(limits with { PrefixCaching = false, MaxWaiting = 64 });
        // Neighbours of other lengths, some before the needle and some after it.
        for (var i = 0; i < neighbours / 2; i++)
            Submit(scheduler, i + 2, Tokens(1 + (needle.Length * (i + 1) / (neighbours + 1)), i + 2, executor.Config.VocabSize));
        Submit(scheduler, 1, needle);
        for (var i = neighbours / 2; i < neighbours; i++)
            Submit(scheduler, i + 2, Tokens(1 + (needle.Length * (i + 1) / (neighbours + 1)), i + 2, executor.Config.VocabSize));

        var rows = new LogitRows(executor.Config.VocabSize);
        var sampled = new List<SampledToken>();
        var logits = new List<float[]>();
        while (scheduler.HasWork)
        {
            var plan = scheduler.Plan(budget);
            executor.Run(plan.Spans, rows);
            sampled.Clear();
            foreach (var span in plan.Spans)
            {
                if (!span.Samples)
                    continue;
                if (span.Sequence.Id == 1)
                    logits.Add(rows[sampled.Count].ToArray());
                var next = (span.Sequence.Tokens[^1] + 1) % executor.Config.VocabSize;
                sampled.Add(new(span.Sequence, next, span.Sequence.Tokens.Length + 1 == span.Sequence.MaxTotalTokens));
            }

            scheduler.Apply(plan, [.. sampled]);
        }

        return logits;
    }

    private static void Submit(IterationScheduler scheduler, long id, int[] tokens) =>
        scheduler.Submit(new SequenceRequest(id, tokens, tokens.Length, tokens.Length + OutputLength, "self-test"));

    private static int[] Tokens(int count, int seed, int vocabulary)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(vocabulary))];
    }
}
