using Platform.Serving.Core.Scheduling;
using Platform.Serving.Execution;
using static Platform.Serving.Tests.Execution.ExecutorFixture;

namespace Platform.Serving.Tests.Execution;

/// <summary>A prompt whose logits must be the same bits whatever else happens.</summary>
internal static class Needle
{
    /// <summary>Compares the needle alone with itself among 1, 6, 15 and 63 neighbours, in chunks, preempted, and on a shared prefix.</summary>
    /// <param name="executor">Executor of 512 blocks.</param>
    /// <param name="limits">Its limits, with 64 sequences.</param>
    public static void Check(IModelExecutor executor, SchedulerLimits limits)
    {
        var needle = Prompt(37, 9);
        var expected = Assert.Single(Run(executor, limits, [needle], 12));
        foreach (var neighbours in new[] { 1, 6, 15, 63 })
        {
            int[][] prompts = [.. Enumerable.Range(0, neighbours).Select(i => Prompt(1 + (i * 3 % 97), 100 + i))];
            int[][] all = [.. prompts[..(neighbours / 2)], needle, .. prompts[(neighbours / 2)..]];
            Same(expected, Run(executor, limits, all, 12, budget: 5)[neighbours / 2]);
            Same(expected, Run(executor, limits, all, 12)[neighbours / 2]);
        }

        var crowded = new IterationScheduler(limits with { BlockCount = 7 });
        Same(expected, Run(executor, crowded, [Prompt(30, 5), Prompt(20, 6), needle], 12)[2]);
        Assert.True(crowded.PreemptionCount > 0);

        var caching = new IterationScheduler(limits with { PrefixCaching = true });
        Run(executor, caching, [[.. needle[..33], 1, 2, 3]], 1);
        Same(expected, Assert.Single(Run(executor, caching, [needle], 12)));
        Assert.Equal(32, caching.PrefixHitTokens);
    }

    private static void Same(List<float[]> expected, List<float[]> found)
    {
        Assert.Equal(expected.Count, found.Count);
        for (var step = 0; step < expected.Count; step++)
            Assert.True(expected[step].AsSpan().SequenceEqual(found[step]), $"The logits of step {step} differ.");
    }
}
