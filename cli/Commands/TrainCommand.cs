using System.CommandLine;
using Grpc.Core;
using Platform.Cli.Files;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.Cli.Watching;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform train</c>: submits a job file.</summary>
internal static class TrainCommand
{
    public static Command Create(CommandRunner runner)
    {
        var input = new JobFileInput();
        var watch = new Option<bool>("--watch", "-w") { Description = "Follow the job until it ends; Ctrl-C leaves it running. Ends with 0 only if the job succeeds." };
        var dryRun = new Option<bool>("--dry-run") { Description = "Check the file, and with the server whether it fits the cluster, but create nothing." };
        var command = new ExampledCommand(
            "train",
            "Submit a job: a TrainingJob, or a CommandJob that runs a program of your own.",
            "platform train job.yaml --watch",
            "platform train job.yaml --set training.steps=50 --set parallelism.tensor=2",
            "platform train job.yaml --dry-run")
        {
            input.File, input.Changes, watch, dryRun,
        };
        runner.Handle(command, async call =>
        {
            var validateOnly = call.Parse.GetValue(dryRun);
            var job = await input.SendAsync(call, spec => call.Session.Jobs.CreateJobAsync(
                new CreateJobRequest
                {
                    Parent = call.Session.Names.Parent,
                    Spec = spec,
                    RequestId = Guid.NewGuid().ToString(),
                    ValidateOnly = validateOnly,
                },
                call.Session.Call(call.Cancellation)));
            if (validateOnly)
            {
                call.Print(job, () => call.Output.WriteLine($"{call.Parse.GetValue(input.File)} is valid and fits the cluster; nothing was created."));
                return ExitCode.Success;
            }

            if (!call.Parse.GetValue(watch))
            {
                call.PrintCreated(job, job.Name);
                return ExitCode.Success;
            }

            if (call.Format == OutputFormat.Table)
                call.Terminal.Error.WriteLine($"Submitted {job.Name}. Ctrl-C leaves it running.");
            var code = await new JobWatch(call.Session, call.Terminal, call.Format, job.Name).RunAsync(call.Cancellation);
            if (call.Format == OutputFormat.Table)
                call.Output.WriteLine(job.Name);
            return code;
        });
        return command;
    }
}

/// <summary>The job file of a command, with what <c>--set</c> changes.</summary>
internal sealed class JobFileInput
{
    /// <summary>The file.</summary>
    public Argument<string> File { get; } = new("JOB") { Description = "Job file (YAML)." };

    /// <summary>Changes to it.</summary>
    public Option<string[]> Changes { get; } = new("--set")
    {
        Description = "Change a field of the file, such as training.steps=100; may be given several times. Relative paths start at the current directory.",
        HelpName = "FIELD=VALUE",
        Arity = ArgumentArity.OneOrMore,
    };

    /// <summary>Reads the job and makes a call with it; errors about fields come out with file and line.</summary>
    public async Task<T> SendAsync<T>(CommandCall call, Func<JobSpec, AsyncUnaryCall<T>> send)
    {
        var file = SpecFile.Load(call.Parse.GetRequiredValue(File), call.Parse.GetValue(Changes) ?? [], call.Terminal);
        var spec = SpecFiles.ReadJob(file, call.Terminal, call.Session.IsLocal);
        try
        {
            return await send(spec);
        }
        catch (RpcException error) when (!call.Cancellation.IsCancellationRequested)
        {
            throw new CommandException(string.Join("\n", ErrorText.Lines(error, call.Session.Server, field =>
                field.StartsWith("spec.", StringComparison.Ordinal) ? file.Locate(field["spec.".Length..]) : null)));
        }
    }
}
