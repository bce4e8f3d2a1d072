using Platform.Serving.Core.Scheduling;
using static Platform.Serving.Tests.Core.SchedulerDriver;

namespace Platform.Serving.Tests.Core;

public sealed class IterationSchedulerTests
{
    [Fact]
    public void Cuts_a_long_prompt_into_chunks_of_the_budget_and_samples_after_the_last()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits(batched: 8)));
        var sequence = driver.Accept(Prompt(20), 2);
        Assert.Equal([(0, 0, 8)], driver.Step());
        Assert.Equal([(0, 8, 8)], driver.Step());
        Assert.Equal(0, sequence.Produced.Length);
        Assert.Equal([(0, 16, 4)], driver.Step());
        Assert.Equal(1, sequence.Produced.Length);
        Assert.Equal([(0, 20, 1)], driver.Step());
        Assert.Equal(SequencePhase.Ended, sequence.Phase);
        Assert.Equal(0, driver.Scheduler.Pool.UsedCount);
    }

    [Fact]
    public void Running_streams_come_before_prompts()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits(batched: 8)));
        driver.Accept(Prompt(4), 10);
        driver.Accept(Prompt(4, 1), 10);
        driver.Step();
        driver.Accept(Prompt(20, 2), 10);
        Assert.Equal([(0, 4, 1), (1, 4, 1), (2, 0, 6)], driver.Step());
    }

    [Fact]
    public void The_prompt_budget_paces_prompts_but_not_streams()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits(batched: 8)));
        driver.Accept(Prompt(4), 10);
        driver.Accept(Prompt(4, 1), 10);
        driver.Step();
        driver.Accept(Prompt(20, 2), 10);
        Assert.Equal([(0, 4, 1), (1, 4, 1), (2, 0, 2)], driver.Step(promptBudget: 2));
    }

    [Fact]
    public void Preempts_the_youngest_request_when_blocks_run_out_and_it_still_ends_with_the_same_tokens()
    {
        var alone = new SchedulerDriver(new IterationScheduler(Limits(blocks: 8)));
        var expected = alone.Accept(Prompt(8, 3), 20);
        alone.RunToEnd();

        var driver = new SchedulerDriver(new IterationScheduler(Limits(blocks: 8, caching: false)));
        var oldest = driver.Accept(Prompt(8), 20);
        var youngest = driver.Accept(Prompt(8, 3), 20);
        driver.RunToEnd();
        Assert.Equal(0, oldest.Preemptions);
        Assert.True(youngest.Preemptions > 0);
        Assert.Equal(driver.Scheduler.PreemptionCount, youngest.Preemptions);
        Assert.Equal(expected.Tokens, youngest.Tokens);
    }

    [Fact]
    public void An_aborted_request_frees_its_blocks_at_once()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits()));
        var kept = driver.Accept(Prompt(8), 20);
        var aborted = driver.Accept(Prompt(8, 1), 20);
        driver.Step();
        Assert.Equal(4, driver.Scheduler.Pool.UsedCount);
        driver.Scheduler.Abort(aborted);
        Assert.Equal(2, driver.Scheduler.Pool.UsedCount);
        driver.Scheduler.Abort(aborted);
        driver.RunToEnd();
        Assert.Equal(20, kept.Produced.Length);
    }

    [Fact]
    public void A_request_aborted_between_plan_and_result_takes_no_token()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits()));
        var sequence = driver.Accept(Prompt(8), 20);
        var plan = driver.Scheduler.Plan(100);
        driver.Scheduler.Abort(sequence);
        driver.Apply(plan);
        Assert.Equal(0, sequence.Produced.Length);
        Assert.Equal(0, driver.Scheduler.Pool.UsedCount);
    }

    [Fact]
    public void Refuses_what_can_never_fit_and_says_why()
    {
        var context = new SchedulerDriver(new IterationScheduler(Limits(context: 32)));
        var message = Assert.IsType<Admission.NeverFits>(context.Submit(Prompt(30), 3)).Message;
        Assert.Contains("33 tokens", message, StringComparison.Ordinal);
        Assert.Contains("context is 32", message, StringComparison.Ordinal);

        var pool = new SchedulerDriver(new IterationScheduler(Limits(blocks: 4)));
        Assert.IsType<Admission.Accepted>(pool.Submit(Prompt(10), 7));
        Assert.Contains("kv_cache_bytes", Assert.IsType<Admission.NeverFits>(pool.Submit(Prompt(10), 8)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Refuses_for_now_when_the_queue_is_full()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits(sequences: 1, waiting: 1)));
        driver.Accept(Prompt(4), 4);
        driver.Accept(Prompt(4, 1), 4);
        Assert.Equal(2, Assert.IsType<Admission.QueueFull>(driver.Submit(Prompt(4, 2), 4)).Live);
        driver.RunToEnd();
        driver.Accept(Prompt(4, 2), 4);
    }

    [Fact]
    public void Shares_the_blocks_of_a_known_prefix_with_the_same_tenant_only()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits()));
        driver.Accept(Prompt(10), 2, "a");
        driver.RunToEnd();
        var same = driver.Accept(Prompt(10), 2, "a");
        Assert.Equal([(1, 8, 2)], driver.Step());
        Assert.Equal(8, same.CachedPromptTokens);
        driver.RunToEnd();
        var other = driver.Accept(Prompt(10), 2, "b");
        Assert.Equal([(2, 0, 10)], driver.Step());
        Assert.Equal(0, other.CachedPromptTokens);
        Assert.Equal((8, 30), (driver.Scheduler.PrefixHitTokens, driver.Scheduler.PrefixQueriedTokens));
    }

    [Fact]
    public void The_last_token_of_a_fully_known_prompt_is_computed_again()
    {
        var driver = new SchedulerDriver(new IterationScheduler(Limits()));
        driver.Accept(Prompt(8), 2);
        driver.RunToEnd();
        driver.Accept(Prompt(8), 2);
        Assert.Equal([(1, 4, 4)], driver.Step());
    }
}
