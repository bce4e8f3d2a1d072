using Google.Protobuf.WellKnownTypes;
using Platform.Cli.Tests.Scripted;
using Platform.Cli.Watching;
using Platform.V1;
using Spectre.Console;
using Xunit;

namespace Platform.Cli.Tests.Watching;

public sealed class JobLineTests
{
    [Fact]
    public void A_long_run_prints_about_twenty_lines_and_always_the_first_and_last_step()
    {
        var printed = new List<int>();
        Job? last = null;
        for (var step = 0; step <= 1000; step++)
        {
            var job = Samples.Job(JobState.Running, step);
            job.Progress.TotalSteps = 1000;
            if (!JobLine.IsNews(last, job))
                continue;
            printed.Add(step);
            last = job;
        }

        Assert.Equal([0, 1, 50], printed[..3]);
        Assert.Equal(1000, printed[^1]);
        Assert.InRange(printed.Count, 20, 23);
    }

    [Fact]
    public void A_new_state_phase_attempt_or_failure_is_news()
    {
        var job = Samples.Job(JobState.Running, 5);

        Assert.False(JobLine.IsNews(job, job.Clone()));
        Assert.True(JobLine.IsNews(null, job));
        Assert.True(JobLine.IsNews(job, Samples.Job(JobState.Stopping, 5)));
        Assert.True(JobLine.IsNews(job, new Job(job) { Attempt = 2 }));
        Assert.True(JobLine.IsNews(job, new Job(job) { PastFailures = { new Failure() } }));
        Assert.True(JobLine.IsNews(job, new Job(job) { Progress = new TrainingProgress(job.Progress) { Phase = "saving" } }));
        Assert.True(JobLine.IsNews(job, Samples.Job(JobState.Running, 2)));
    }

    [Fact]
    public void Names_phases_before_training_with_their_share()
    {
        var job = new Job { State = JobState.Running, Progress = new TrainingProgress { Phase = "tokenizing", PhaseFraction = 0.25 } };

        Assert.Equal("running  tokenizing 25%", JobLine.Of(job));
    }

    [Fact]
    public void Says_why_a_job_waits() =>
        Assert.Equal("queued  Waiting for 8 devices.", JobLine.Of(new Job { State = JobState.Queued, StateReason = "Waiting for 8 devices." }));

    [Fact]
    public void Names_the_culprit_of_a_failure_that_was_retried() =>
        Assert.Equal(
            "attempt 1 failed: Rank 3 was killed. (rank 3 on node-2) [RANK_EXITED]",
            JobLine.Of(new Failure { Attempt = 1, Rank = 3, Node = "node-2", Message = "Rank 3 was killed.", Reason = "RANK_EXITED" }));

    [Fact]
    public void The_panel_shows_progress_loss_speed_eta_and_the_last_failure()
    {
        var job = Samples.Job(JobState.Running, 10);
        job.Progress.Eta = Duration.FromTimeSpan(TimeSpan.FromSeconds(95));
        job.Attempt = 2;
        job.PastFailures.Add(new Failure { Attempt = 1, Message = "Rank [3] was killed.", Reason = "RANK_EXITED" });
        var text = new StringWriter();
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(text) });
        console.Profile.Width = 120;

        console.Write(JobPanel.Of(job, "a remark", DateTimeOffset.UtcNow));

        foreach (var part in new[] { "docs-lm-1", "running", "attempt 2", "50% 10/20", "3.2500 from 8.5000", "12.3k", "1m35s", "Rank [3] was killed.", "a remark" })
            Assert.Contains(part, text.ToString(), StringComparison.Ordinal);
    }
}
