using System.CommandLine;
using Grpc.Core;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.Cli.Watching;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform jobs</c>.</summary>
internal static class JobsCommand
{
    public static Command Create(CommandRunner runner) => new("jobs", "Look at jobs and steer them.")
    {
        List(runner), Get(runner), Watch(runner), Logs(runner), Metrics(runner), Explain(runner), JobFilesCommand.Trace(runner), JobFilesCommand.Report(runner),
        Update(runner),
        Steer(runner, "cancel", "Stop a job for good; its checkpoints stay.", (session, name, options) =>
            session.Jobs.CancelJobAsync(new CancelJobRequest { Name = name }, options)),
        Steer(runner, "pause", "Stop a job after a checkpoint and keep it out of the queue.", (session, name, options) =>
            session.Jobs.PauseJobAsync(new PauseJobRequest { Name = name }, options)),
        Steer(runner, "resume", "Put a paused job back into the queue.", (session, name, options) =>
            session.Jobs.ResumeJobAsync(new ResumeJobRequest { Name = name }, options)),
    };

    private static ExampledCommand Update(CommandRunner runner)
    {
        var id = Id();
        var priority = new Option<int?>("--priority") { Description = "Higher goes first in its queue.", HelpName = "N" };
        var steps = new Option<int?>("--steps") { Description = "Optimizer steps in all; more than are done.", HelpName = "N" };
        var lr = new Option<double?>("--lr") { Description = "Peak learning rate, from the next step on.", HelpName = "RATE" };
        var width = new Option<int?>("--data-width") { Description = "Data-parallel width, from the next step on; of an elastic job the widest.", HelpName = "N" };
        var command = new ExampledCommand(
            "update", "Change a job that waits or runs. Ranks that run save and go on from there in the new form.",
            "platform jobs update docs-lm-1 --priority 200", "platform jobs update docs-lm-1 --steps 600 --lr 5e-4")
        {
            id, priority, steps, lr, width,
        };
        runner.Handle(command, async call =>
        {
            var request = new UpdateJobRequest { Name = call.Session.Names.Job(call.Parse.GetRequiredValue(id)) };
            if (call.Parse.GetValue(priority) is { } first)
                request.Priority = first;
            if (call.Parse.GetValue(steps) is { } count)
                request.Steps = count;
            if (call.Parse.GetValue(lr) is { } rate)
                request.Lr = rate;
            if (call.Parse.GetValue(width) is { } wide)
                request.Data = wide;
            if (!request.HasPriority && !request.HasSteps && !request.HasLr && !request.HasData)
                throw new CommandException("Nothing to change is given; use --priority, --steps, --lr or --data-width.");
            var job = await call.Session.Jobs.UpdateJobAsync(request, call.Session.Call(call.Cancellation));
            call.Print(job, () => call.Output.WriteLine($"{job.Name}: {JobTables.Settings(job)}, {Show.State(job.State)}"));
        });
        return command;
    }

    private static Argument<string> Id() => new("JOB") { Description = "Job id or full name." };

    private static ExampledCommand List(CommandRunner runner)
    {
        var state = new Option<JobState?>("--state") { Description = "Only jobs in this state.", HelpName = "STATE" };
        var command = new ExampledCommand("list", "List jobs, newest first.", "platform jobs list", "platform jobs list --state running -o json") { state };
        runner.Handle(command, async call =>
        {
            var all = new ListJobsResponse();
            do
            {
                var page = await call.Session.Jobs.ListJobsAsync(
                    new ListJobsRequest { Parent = call.Session.Names.Parent, PageToken = all.NextPageToken, State = call.Parse.GetValue(state) ?? JobState.Unspecified },
                    call.Session.Call(call.Cancellation));
                all.Jobs.AddRange(page.Jobs);
                all.NextPageToken = page.NextPageToken;
            }
            while (all.NextPageToken.Length > 0);
            call.Print(all, () => JobTables.WriteList(call.Output, all.Jobs, DateTimeOffset.UtcNow));
        });
        return command;
    }

    private static ExampledCommand Get(CommandRunner runner)
    {
        var id = Id();
        var command = new ExampledCommand("get", "Show one job.", "platform jobs get docs-lm-1", "platform jobs get docs-lm-1 -o yaml") { id };
        runner.Handle(command, async call =>
        {
            var job = await call.Session.Jobs.GetJobAsync(
                new GetJobRequest { Name = call.Session.Names.Job(call.Parse.GetRequiredValue(id)) }, call.Session.Call(call.Cancellation));
            call.Print(job, () => JobTables.WriteOne(call.Output, job, DateTimeOffset.UtcNow));
        });
        return command;
    }

    private static ExampledCommand Watch(CommandRunner runner)
    {
        var id = Id();
        var command = new ExampledCommand(
            "watch", "Follow a job until it ends; Ctrl-C leaves it running. Ends with 0 only if the job succeeds.", "platform jobs watch docs-lm-1")
        {
            id,
        };
        runner.Handle(command, call => new JobWatch(
            call.Session, call.Terminal, call.Format, call.Session.Names.Job(call.Parse.GetRequiredValue(id))).RunAsync(call.Cancellation));
        return command;
    }

    private static ExampledCommand Logs(CommandRunner runner)
    {
        var id = Id();
        var rank = new Option<int?>("--rank") { Description = "Only this rank.", HelpName = "RANK" };
        var follow = new Option<bool>("--follow", "-f") { Description = "Go on until the job ends." };
        var tail = new Option<int>("--tail") { Description = "Only the last lines of each rank; all when 0.", HelpName = "LINES" };
        var command = new ExampledCommand("logs", "Print what the ranks of a job wrote.", "platform jobs logs docs-lm-1 --rank 0 --tail 50", "platform jobs logs docs-lm-1 -f")
        {
            id, rank, follow, tail,
        };
        runner.Handle(command, async call =>
        {
            var request = new StreamLogsRequest
            {
                Name = call.Session.Names.Job(call.Parse.GetRequiredValue(id)),
                Follow = call.Parse.GetValue(follow),
                Tail = call.Parse.GetValue(tail),
            };
            if (call.Parse.GetValue(rank) is { } only)
                request.Rank = only;
            using var stream = call.Session.Jobs.StreamLogs(request, call.Session.Follow(call.Cancellation));
            await foreach (var line in stream.ResponseStream.ReadAllAsync(call.Cancellation))
            {
                if (call.Format == OutputFormat.Table)
                    call.Output.WriteLine($"{line.Attempt}/{line.Rank} | {line.Line}");
                else
                    MessageWriter.WriteNext(call.Output, line, call.Format);
            }
        });
        return command;
    }

    private static ExampledCommand Metrics(CommandRunner runner)
    {
        var id = Id();
        var after = new Option<int>("--after") { Description = "Only steps after this one.", HelpName = "STEP" };
        var command = new ExampledCommand(
            "metrics", "Print loss, gradient norm, speed and where the time went, of each step.", "platform jobs metrics docs-lm-1", "platform jobs metrics docs-lm-1 -o json | jq .points[-1].loss")
        {
            id, after,
        };
        runner.Handle(command, async call =>
        {
            var metrics = await call.Session.Jobs.GetMetricsAsync(
                new GetMetricsRequest { Name = call.Session.Names.Job(call.Parse.GetRequiredValue(id)), AfterStep = call.Parse.GetValue(after) },
                call.Session.Call(call.Cancellation));
            call.Print(metrics, () => JobTables.WriteMetrics(call.Output, metrics));
        });
        return command;
    }

    private static ExampledCommand Explain(CommandRunner runner)
    {
        var id = Id();
        var command = new ExampledCommand("explain", "Say why a job is in its state and what would unblock it.", "platform jobs explain docs-lm-1") { id };
        runner.Handle(command, async call =>
        {
            var explanation = await call.Session.Jobs.ExplainJobAsync(
                new ExplainJobRequest { Name = call.Session.Names.Job(call.Parse.GetRequiredValue(id)) }, call.Session.Call(call.Cancellation));
            call.Print(explanation, () => JobTables.WriteExplanation(call.Output, explanation));
        });
        return command;
    }

    private static ExampledCommand Steer(
        CommandRunner runner, string verb, string description, Func<Session, string, CallOptions, AsyncUnaryCall<Job>> send)
    {
        var id = Id();
        var command = new ExampledCommand(verb, description, $"platform jobs {verb} docs-lm-1") { id };
        runner.Handle(command, async call =>
        {
            var job = await send(call.Session, call.Session.Names.Job(call.Parse.GetRequiredValue(id)), call.Session.Call(call.Cancellation));
            call.Print(job, () => call.Output.WriteLine($"{job.Name}: {JobLine.Of(job)}"));
        });
        return command;
    }
}
