using Grpc.Core;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Watching;

/// <summary>Waits until a deployment can answer.</summary>
internal sealed class DeploymentWatch(Session session, Terminal terminal, OutputFormat format, string name)
{
    /// <summary>Waits.</summary>
    /// <returns>0 only when the deployment is ready, or asleep and ready to wake.</returns>
    public async Task<int> RunAsync(CancellationToken cancellation)
    {
        var printed = "";
        try
        {
            using var call = session.Deployments.WatchDeployment(new WatchDeploymentRequest { Name = name }, session.Follow(cancellation));
            await foreach (var message in call.ResponseStream.ReadAllAsync(cancellation))
            {
                var deployment = message.Deployment;
                if (format != OutputFormat.Table)
                    MessageWriter.WriteNext(terminal.Output, deployment, format);
                else if (Line(deployment) is var line && line != printed)
                    terminal.Output.WriteLine(printed = line);
                switch (deployment.State)
                {
                    case DeploymentState.Ready or DeploymentState.Asleep:
                        return ExitCode.Success;
                    case DeploymentState.Failed or DeploymentState.Deleting:
                        return ExitCode.Failure;
                }
            }

            throw new CommandException("The server stopped watching before the deployment was ready; ask again with 'platform deployments get'.");
        }
        catch (Exception error) when (error is OperationCanceledException or RpcException && cancellation.IsCancellationRequested)
        {
            terminal.Error.WriteLine($"Detached; {name} goes on starting. 'platform deployments get {ResourceNames.Short(name)}' shows it.");
            return ExitCode.Interrupted;
        }
    }

    private static string Line(Deployment deployment)
    {
        var reason = deployment.State != DeploymentState.Ready && deployment.StateReason.Length > 0 ? $": {deployment.StateReason}" : "";
        return $"{Show.State(deployment.State)}  {deployment.ReadyReplicas}/{deployment.DesiredReplicas} replicas ready{reason}";
    }
}
