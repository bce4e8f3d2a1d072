using System.CommandLine;
using Grpc.Core;
using Platform.Cli.Files;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.Cli.Watching;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform deploy</c>: serves a model.</summary>
internal static class DeployCommand
{
    public static Command Create(CommandRunner runner)
    {
        var input = new Argument<string>("DEPLOYMENT") { Description = "Deployment file (YAML)." };
        var changes = new Option<string[]>("--set")
        {
            Description = "Change a field of the file, such as engine_config.max_num_seqs=16; may be given several times.",
            HelpName = "FIELD=VALUE",
            Arity = ArgumentArity.OneOrMore,
        };
        var name = new Option<string?>("--name") { Description = "Name that requests use; the model's when not given.", HelpName = "NAME" };
        var watch = new Option<bool>("--watch", "-w", "--wait") { Description = "Wait until its replicas are ready; Ctrl-C leaves it starting." };
        var command = new ExampledCommand("deploy", "Serve a registered model.", "platform deploy deployment.yaml --watch") { input, changes, name, watch };
        runner.Handle(command, async call =>
        {
            var file = SpecFile.Load(call.Parse.GetRequiredValue(input), call.Parse.GetValue(changes) ?? [], call.Terminal);
            var wanted = SpecFiles.ReadDeployment(file, call.Session.Names.Model);
            var deployment = await CreateAsync(call, file, wanted, call.Parse.GetValue(name));
            if (!call.Parse.GetValue(watch))
            {
                call.PrintCreated(deployment, deployment.Name);
                return ExitCode.Success;
            }

            var code = await new DeploymentWatch(call.Session, call.Terminal, call.Format, deployment.Name).RunAsync(call.Cancellation);
            if (call.Format == OutputFormat.Table)
                call.Output.WriteLine(deployment.Name);
            return code;
        });
        return command;
    }

    private static async Task<Deployment> CreateAsync(CommandCall call, SpecFile file, Deployment deployment, string? name)
    {
        try
        {
            return await call.Session.Deployments.CreateDeploymentAsync(
                new CreateDeploymentRequest
                {
                    Parent = call.Session.Names.Parent,
                    DeploymentId = name ?? "",
                    Deployment = deployment,
                    RequestId = Guid.NewGuid().ToString(),
                },
                call.Session.Call(call.Cancellation));
        }
        catch (RpcException error) when (!call.Cancellation.IsCancellationRequested)
        {
            throw new CommandException(string.Join("\n", ErrorText.Lines(error, call.Session.Server, field =>
                field.StartsWith("deployment.", StringComparison.Ordinal) ? file.Locate(field["deployment.".Length..]) : null)));
        }
    }
}
