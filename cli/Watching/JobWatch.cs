using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;
using Spectre.Console;

namespace Platform.Cli.Watching;

/// <summary>Shows a job until it ends or its user goes away, and says how it ended.</summary>
internal sealed class JobWatch(Session session, Terminal terminal, OutputFormat format, string name)
{
    /// <summary>Watches.</summary>
    /// <returns>0 only when the job succeeded.</returns>
    public async Task<int> RunAsync(CancellationToken cancellation)
    {
        try
        {
            var job = format != OutputFormat.Table
                ? await FollowAsync(version => MessageWriter.WriteNext(terminal.Output, version, format), Remark, cancellation)
                : terminal.IsInteractive ? await FollowLiveAsync(cancellation) : await FollowPlainlyAsync(cancellation);
            return Conclude(job);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            var id = ResourceNames.Short(name);
            terminal.Error.WriteLine($"Detached; {name} goes on. 'platform jobs watch {id}' follows it again, 'platform jobs cancel {id}' stops it.");
            return ExitCode.Interrupted;
        }
    }

    private Task<Job> FollowAsync(Action<Job> show, Action<string> remark, CancellationToken cancellation) =>
        new JobStream(session, name).FollowAsync(show, remark, cancellation);

    private Task<Job> FollowPlainlyAsync(CancellationToken cancellation)
    {
        Job? printed = null;
        return FollowAsync(
            job =>
            {
                foreach (var failure in job.PastFailures.Skip(printed?.PastFailures.Count ?? 0))
                    terminal.Output.WriteLine(JobLine.Of(failure));
                if (!JobLine.IsNews(printed, job))
                    return;
                terminal.Output.WriteLine(JobLine.Of(job));
                terminal.Output.Flush();
                printed = job;
            },
            Remark,
            cancellation);
    }

    private Task<Job> FollowLiveAsync(CancellationToken cancellation)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(terminal.Output) });
        return console.Live(JobPanel.Of(null, "", DateTimeOffset.UtcNow)).StartAsync(context =>
        {
            var (latest, remark) = (default(Job), "");
            void Draw()
            {
                context.UpdateTarget(JobPanel.Of(latest, remark, DateTimeOffset.UtcNow));
                context.Refresh();
            }

            return FollowAsync(
                job =>
                {
                    (latest, remark) = (job, "");
                    Draw();
                },
                text =>
                {
                    remark = text;
                    Draw();
                },
                cancellation);
        });
    }

    private int Conclude(Job job)
    {
        var succeeded = job.State == JobState.Succeeded;
        if (format != OutputFormat.Table)
            return succeeded ? ExitCode.Success : ExitCode.Failure;
        foreach (var line in JobSummary.Lines(job, DateTimeOffset.UtcNow))
            (succeeded ? terminal.Output : terminal.Error).WriteLine(line);
        return succeeded ? ExitCode.Success : ExitCode.Failure;
    }

    private void Remark(string text) => terminal.Error.WriteLine(text);
}
