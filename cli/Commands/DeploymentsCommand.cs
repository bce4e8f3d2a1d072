using System.CommandLine;
using Google.Protobuf.WellKnownTypes;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.Cli.Watching;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform deployments</c>.</summary>
internal static class DeploymentsCommand
{
    public static Command Create(CommandRunner runner) => new("deployments", "Look at models being served and steer them.")
    {
        List(runner), Get(runner), Scale(runner), Delete(runner),
    };

    private static Argument<string> Id() => new("DEPLOYMENT") { Description = "Deployment id or full name." };

    private static ExampledCommand List(CommandRunner runner)
    {
        var command = new ExampledCommand("list", "List deployments.", "platform deployments list");
        runner.Handle(command, async call =>
        {
            var all = new ListDeploymentsResponse();
            do
            {
                var page = await call.Session.Deployments.ListDeploymentsAsync(
                    new ListDeploymentsRequest { Parent = call.Session.Names.Parent, PageToken = all.NextPageToken }, call.Session.Call(call.Cancellation));
                all.Deployments.AddRange(page.Deployments);
                all.NextPageToken = page.NextPageToken;
            }
            while (all.NextPageToken.Length > 0);
            call.Print(all, () =>
            {
                var table = new TextTable("DEPLOYMENT", "STATE", "REPLICAS", "MODEL", "AGE");
                foreach (var deployment in all.Deployments)
                {
                    table.Add(
                        ResourceNames.Short(deployment.Name), Show.State(deployment.State), $"{deployment.ReadyReplicas}/{deployment.DesiredReplicas}",
                        ResourceNames.Short(deployment.Model), Show.Age(deployment.CreateTime, DateTimeOffset.UtcNow));
                }

                table.Write(call.Output, "There are no deployments. Make one with 'platform deploy DEPLOYMENT.yaml'.");
            });
        });
        return command;
    }

    private static ExampledCommand Get(CommandRunner runner)
    {
        var id = Id();
        var wait = new Option<bool>("--wait", "-w", "--watch") { Description = "First wait until its replicas are ready; ends with 1 if they fail." };
        var command = new ExampledCommand("get", "Show one deployment and its replicas.", "platform deployments get docs-lm", "platform deployments get docs-lm --wait") { id, wait };
        runner.Handle(command, async call =>
        {
            var name = call.Session.Names.Deployment(call.Parse.GetRequiredValue(id));
            if (call.Parse.GetValue(wait))
                return await new DeploymentWatch(call.Session, call.Terminal, call.Format, name).RunAsync(call.Cancellation);
            var deployment = await call.Session.Deployments.GetDeploymentAsync(new GetDeploymentRequest { Name = name }, call.Session.Call(call.Cancellation));
            call.Print(deployment, () => Write(call.Output, deployment));
            return ExitCode.Success;
        });
        return command;
    }

    private static void Write(TextWriter output, Deployment deployment)
    {
        output.WriteLine($"{deployment.Name} serves {deployment.Model}");
        output.WriteLine($"{Show.State(deployment.State)}, {deployment.ReadyReplicas} of {deployment.DesiredReplicas} replicas ready");
        if (deployment.State != DeploymentState.Ready && deployment.StateReason.Length > 0)
            output.WriteLine(deployment.StateReason);
        var table = new TextTable("REPLICA", "STATE", "NODE", "ENDPOINT");
        foreach (var replica in deployment.Replicas)
            table.Add(replica.Id, replica.State, replica.Node, replica.Endpoint);
        table.Write(output, "It has no replicas.");
    }

    private static ExampledCommand Scale(CommandRunner runner)
    {
        var id = Id();
        var replicas = new Argument<int>("REPLICAS") { Description = "Replicas wanted; 0 lets it sleep." };
        var command = new ExampledCommand("scale", "Change how many replicas a deployment has.", "platform deployments scale docs-lm 3") { id, replicas };
        runner.Handle(command, async call =>
        {
            var name = call.Session.Names.Deployment(call.Parse.GetRequiredValue(id));
            var count = call.Parse.GetRequiredValue(replicas);
            if (count is < 0 or > 10_000)
                throw new CommandException($"REPLICAS: {count} is out of range; allowed is 0 to 10000.");
            var scaled = await call.Session.Deployments.UpdateDeploymentAsync(
                new UpdateDeploymentRequest
                {
                    Deployment = new Deployment { Name = name, DesiredReplicas = count },
                    UpdateMask = new FieldMask { Paths = { "desired_replicas" } },
                },
                call.Session.Call(call.Cancellation));
            call.Print(scaled, () => call.Output.WriteLine($"{scaled.Name}: {scaled.DesiredReplicas} replicas wanted, {scaled.ReadyReplicas} ready"));
        });
        return command;
    }

    private static ExampledCommand Delete(CommandRunner runner)
    {
        var id = Id();
        var command = new ExampledCommand("delete", "Stop serving; the model stays.", "platform deployments delete docs-lm") { id };
        runner.Handle(command, async call =>
        {
            var name = call.Session.Names.Deployment(call.Parse.GetRequiredValue(id));
            var empty = await call.Session.Deployments.DeleteDeploymentAsync(new DeleteDeploymentRequest { Name = name }, call.Session.Call(call.Cancellation));
            call.Print(empty, () => call.Output.WriteLine($"Deleted {name}"));
        });
        return command;
    }
}
