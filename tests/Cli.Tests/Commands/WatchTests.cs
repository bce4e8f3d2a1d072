using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class WatchTests
{
    [Fact]
    public async Task A_job_that_fails_gives_a_failure_with_its_reason_and_log()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var failed = Samples.Job(JobState.Failed, 7);
        failed.Failure = new Failure { Reason = "RANK_EXITED", Message = "Rank 3 ended with code 139.", Rank = 3, Node = "node-2", Attempt = 2, LogTail = { "last words" } };
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>(Samples.Watch(Samples.Job(JobState.Running, 7), failed));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "watch", "docs-lm-1");

        Assert.Equal(1, run.Code);
        Assert.Equal(
            [
                "docs-lm-1 failed: Rank 3 ended with code 139.", "  RANK_EXITED, attempt 2, rank 3, node node-2", "  | last words",
                "  More: platform jobs logs docs-lm-1 --rank 3",
            ],
            run.ErrorLines);
    }

    [Fact]
    public async Task A_job_that_is_cancelled_gives_a_failure()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>(Samples.Watch(Samples.Job(JobState.Cancelled)));
        using var cli = new CommandLine(platform.Address);

        Assert.Equal(1, (await cli.RunAsync("jobs", "watch", "docs-lm-1")).Code);
    }

    [Fact]
    public async Task Ctrl_C_detaches_and_leaves_the_job_alone()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var left = new TaskCompletionSource();
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>(async (_, writer, cancellation) =>
        {
            await writer.WriteAsync(new WatchJobResponse { Job = Samples.Job(JobState.Running, 5) }, cancellation);
            cancellation.Register(left.SetResult);
            await left.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        });
        using var cli = new CommandLine(platform.Address);
        using var interruption = new CancellationTokenSource();

        var running = cli.RunAsync(interruption.Token, "jobs", "watch", "docs-lm-1");
        await cli.Output.WaitForAsync("step 5/20");
        await interruption.CancelAsync();
        var run = await running.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);

        Assert.Equal(130, run.Code);
        Assert.Equal(
            "Detached; projects/default/jobs/docs-lm-1 goes on. 'platform jobs watch docs-lm-1' follows it again, 'platform jobs cancel docs-lm-1' stops it.\n",
            run.Error);
        await left.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.IsType<WatchJobRequest>(Assert.Single(platform.Script.Calls).Request);
    }

    [Fact]
    public async Task An_interrupt_signal_detaches_the_real_program()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Signals are sent by kill(2), which Windows lacks.");
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>(async (_, writer, cancellation) =>
        {
            await writer.WriteAsync(new WatchJobResponse { Job = Samples.Job(JobState.Running, 5) }, cancellation);
            await Task.Delay(Timeout.Infinite, cancellation);
        });
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "platform"), ["jobs", "watch", "docs-lm-1", "--server", platform.Address])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start) ?? throw new InvalidOperationException("The program did not start.");
        try
        {
            var cancellation = TestContext.Current.CancellationToken;
            Assert.StartsWith("running  step 5/20", await process.StandardOutput.ReadLineAsync(cancellation).AsTask().WaitAsync(TimeSpan.FromSeconds(30), cancellation), StringComparison.Ordinal);

            Assert.Equal(0, Kill(process.Id, 2));

            Assert.StartsWith("Detached;", await process.StandardError.ReadLineAsync(cancellation).AsTask().WaitAsync(TimeSpan.FromSeconds(30), cancellation), StringComparison.Ordinal);
            await process.WaitForExitAsync(cancellation).WaitAsync(TimeSpan.FromSeconds(30), cancellation);
            Assert.Equal(130, process.ExitCode);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int Kill(int process, int signal);

    [Fact]
    public async Task Follows_on_after_the_server_was_gone()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var opened = 0;
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>(async (_, writer, cancellation) =>
        {
            var time = Interlocked.Increment(ref opened);
            await writer.WriteAsync(new WatchJobResponse { Job = Samples.Job(time < 3 ? JobState.Running : JobState.Succeeded, time) }, cancellation);
            if (time == 1)
                throw new RpcException(new Status(StatusCode.Unavailable, "restarting"));
        });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "watch", "docs-lm-1");

        Assert.Equal((0, 3), (run.Code, opened));
        Assert.Contains("Lost the connection", run.Error, StringComparison.Ordinal);
        Assert.Contains("Connected again.", run.ErrorLines);
    }

    [Fact]
    public async Task A_job_that_does_not_exist_is_an_error_and_not_waited_for()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>((_, _, _) =>
            throw Samples.Error(StatusCode.NotFound, "There is no job projects/default/jobs/x.", "JOB_NOT_FOUND"));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "watch", "x");

        Assert.Equal((1, "error: There is no job projects/default/jobs/x. (JOB_NOT_FOUND)\n"), (run.Code, run.Error));
    }

    [Fact]
    public async Task Prints_a_line_of_json_per_version()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>(Samples.Watch(Samples.Job(JobState.Running, 1), Samples.Job(JobState.Succeeded, 20)));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("jobs", "watch", "docs-lm-1", "-o", "json");

        Assert.Equal(
            ["JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"],
            run.OutputLines.Select(line => (string?)JsonNode.Parse(line)?["state"]));
    }

    [Fact]
    public async Task Redraws_on_a_terminal()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var running = Samples.Job(JobState.Running, 10);
        running.Progress.Eta = Duration.FromTimeSpan(TimeSpan.FromSeconds(95));
        platform.Script.OnStream<WatchJobRequest, WatchJobResponse>(Samples.Watch(running, Samples.Job(JobState.Succeeded, 20)));
        using var cli = new CommandLine(platform.Address) { IsInteractive = true };

        var run = await cli.RunAsync("jobs", "watch", "docs-lm-1");

        Assert.Equal(0, run.Code);
        Assert.Contains("succeeded", run.Output, StringComparison.Ordinal);
        Assert.Contains("20/20", run.Output, StringComparison.Ordinal);
    }
}
