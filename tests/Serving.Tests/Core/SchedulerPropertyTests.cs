using CsCheck;
using Platform.Serving.Core.Scheduling;
using static Platform.Serving.Tests.Core.SchedulerDriver;

namespace Platform.Serving.Tests.Core;

public sealed class SchedulerPropertyTests
{
    private abstract record Operation
    {
        public sealed record Submit(int Prompt, int Output, int Family, string Tenant) : Operation;

        public sealed record Step(int PromptBudget) : Operation;

        public sealed record Abort(int Index, bool WithinIteration) : Operation;
    }

    private static readonly Gen<Operation> AnyOperation = Gen.Frequency(
        (3, Gen.Select(Gen.Int[1, 40], Gen.Int[1, 30], Gen.Int[0, 2], Gen.Bool.Select(first => first ? "a" : "b"),
            (prompt, output, family, tenant) => (Operation)new Operation.Submit(prompt, output, family, tenant))),
        (8, Gen.Int[1, 20].Select(budget => (Operation)new Operation.Step(budget))),
        (1, Gen.Select(Gen.Int[0, 100], Gen.Bool, (index, within) => (Operation)new Operation.Abort(index, within))));

    private static readonly Gen<(SchedulerLimits Limits, Operation[] Operations)> AnyRun = Gen.Select(
        Gen.Select(Gen.Int[1, 6], Gen.Int[6, 24], Gen.Int[0, 6], Gen.Int[1, 5], Gen.Int[3, 24], Gen.Bool,
            (sequences, batched, waiting, blockSize, blocks, caching) => Limits(sequences, batched, waiting, 48, blockSize, blocks, caching)),
        AnyOperation.Array[1, 120]);

    // A failing run prints its seed; pass it to Sample to repeat it.
    [Fact]
    public void Blocks_are_conserved_and_every_accepted_request_ends() => AnyRun.Sample(run =>
    {
        var driver = new SchedulerDriver(new IterationScheduler(run.Limits));
        var aborted = new HashSet<long>();
        foreach (var operation in run.Operations)
        {
            Carry(driver, operation, aborted);
            CheckBlocks(driver);
        }

        for (var i = 0; driver.Scheduler.HasWork; i++)
        {
            Assert.True(i < 20_000, "The scheduler does not come to an end.");
            Assert.NotEmpty(driver.Step());
            CheckBlocks(driver);
        }

        Assert.Equal(0, driver.Scheduler.Pool.UsedCount);
        foreach (var sequence in driver.Accepted)
            Assert.True(aborted.Contains(sequence.Id) || sequence.Tokens.Length == sequence.MaxTotalTokens, "A request ended early.");
    }, iter: 2_000, threads: 1);

    [Fact]
    public void Tokens_do_not_depend_on_neighbours_chunks_or_preemptions() => AnyRun.Sample(run =>
    {
        var driver = new SchedulerDriver(new IterationScheduler(run.Limits));
        var aborted = new HashSet<long>();
        foreach (var operation in run.Operations)
            Carry(driver, operation, aborted);
        driver.RunToEnd(20_000);
        foreach (var sequence in driver.Accepted)
        {
            var tokens = sequence.Tokens[..sequence.PromptLength].ToArray().ToList();
            var hash = tokens.Aggregate(17, (h, token) => unchecked((h * 31) + token));
            while (tokens.Count < sequence.Tokens.Length)
            {
                tokens.Add(hash & 0xFF);
                hash = unchecked((hash * 31) + tokens[^1]);
            }

            Assert.Equal(tokens, sequence.Tokens.ToArray());
        }
    }, iter: 500, threads: 1);

    private static void Carry(SchedulerDriver driver, Operation operation, HashSet<long> aborted)
    {
        switch (operation)
        {
            case Operation.Submit submit:
                // Prompts of one family share prefixes.
                driver.Submit(Prompt(submit.Prompt, submit.Family), submit.Output, submit.Tenant);
                break;
            case Operation.Step step:
                Assert.Equal(driver.Scheduler.HasWork, driver.Step(step.PromptBudget).Count > 0);
                break;
            case Operation.Abort abort when driver.Accepted.Count > 0:
                var victim = driver.Accepted[abort.Index % driver.Accepted.Count];
                var plan = abort.WithinIteration ? driver.Scheduler.Plan(5) : null;
                if (victim.Phase != SequencePhase.Ended)
                    aborted.Add(victim.Id);
                driver.Scheduler.Abort(victim);
                if (plan is not null)
                    driver.Apply(plan);
                break;
            default:
                break;
        }
    }

    private static void CheckBlocks(SchedulerDriver driver)
    {
        var (scheduler, pool) = (driver.Scheduler, driver.Scheduler.Pool);
        var owners = new int[pool.TotalCount];
        foreach (var sequence in scheduler.Running)
        {
            Assert.Equal(SequencePhase.Running, sequence.Phase);
            Assert.True(sequence.Blocks.Length * scheduler.Limits.BlockSize >= sequence.ComputedTokens, "Computed tokens without a block.");
            for (var i = 0; i < sequence.Blocks.Length; i++)
            {
                owners[sequence.Blocks[i]]++;
                var full = (i + 1) * scheduler.Limits.BlockSize <= sequence.ComputedTokens;
                Assert.True(full || pool.ReferenceCount(sequence.Blocks[i]) == 1, "A block that is still written to is shared.");
            }
        }

        Assert.All(scheduler.Waiting, sequence => Assert.Equal(0, sequence.Blocks.Length));
        Assert.Equal(owners, Enumerable.Range(0, pool.TotalCount).Select(pool.ReferenceCount));
        Assert.Equal(pool.TotalCount, pool.UsedCount + pool.FreeCount);
        Assert.Equal(owners.Count(count => count > 0), pool.UsedCount);
        Assert.True(scheduler.Running.Count <= scheduler.Limits.MaxSequences, "Too many run.");
        var ages = scheduler.Running.Concat(scheduler.Waiting).Select(s => s.Arrival).ToList();
        Assert.Equal(ages.Order(), ages);
    }
}
