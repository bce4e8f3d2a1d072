using System.CommandLine;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform nodes</c>.</summary>
internal static class NodesCommand
{
    public static Command Create(CommandRunner runner) => new("nodes", "Look at the machines and take them out of use.")
    {
        List(runner),
        Drain(runner),
        Steer(runner, "cordon", "Start nothing new on a node; what runs there stays.", (session, name, options) =>
            session.Cluster.DrainNodeAsync(new DrainNodeRequest { Name = name, KeepGangs = true }, options)),
        Steer(runner, "undrain", "Use a node again, drained or cordoned.", (session, name, options) =>
            session.Cluster.UndrainNodeAsync(new UndrainNodeRequest { Name = name }, options)),
    };

    private static ExampledCommand List(CommandRunner runner)
    {
        var command = new ExampledCommand("list", "List nodes and what their devices hold.", "platform nodes list");
        runner.Handle(command, async call =>
        {
            var all = new ListNodesResponse();
            do
            {
                var page = await call.Session.Cluster.ListNodesAsync(
                    new ListNodesRequest { PageToken = all.NextPageToken }, call.Session.Call(call.Cancellation));
                all.Nodes.AddRange(page.Nodes);
                all.NextPageToken = page.NextPageToken;
            }
            while (all.NextPageToken.Length > 0);
            call.Print(all, () =>
            {
                var table = new TextTable("NODE", "STATE", "GROUP", "DEVICES", "IN USE", "GANGS", "LABELS", "AGENT");
                foreach (var node in all.Nodes)
                {
                    table.Add(
                        ResourceNames.Short(node.Name), State(node), Group(node), Devices(node), Show.Number(node.Devices.Sum(device => device.AllocatedMilli) / 1000.0),
                        string.Join(",", node.Devices.SelectMany(device => device.Gangs).Distinct().Order(StringComparer.Ordinal)),
                        string.Join(",", node.Topology.Select(label => $"{label.Key}={label.Value}").Order(StringComparer.Ordinal)), node.AgentVersion);
                }

                table.Write(call.Output, "There are no nodes.");
            });
        });
        return command;
    }

    private static ExampledCommand Drain(CommandRunner runner)
    {
        var id = new Argument<string>("NODE") { Description = "Node id or full name." };
        var within = new Option<double?>("--within") { Description = "The machine goes away after so many seconds: jobs have until then to save and leave.", HelpName = "SECONDS" };
        var command = new ExampledCommand(
            "drain", "Start nothing new on a node and move what runs there away.", "platform nodes drain node-1", "platform nodes drain node-1 --within 30") { id, within };
        runner.Handle(command, async call =>
        {
            var request = new DrainNodeRequest { Name = ResourceNames.Node(call.Parse.GetRequiredValue(id)) };
            if (call.Parse.GetValue(within) is { } seconds)
            {
                request.Within = seconds is >= 0 and < 1e7
                    ? Duration.FromTimeSpan(TimeSpan.FromSeconds(seconds))
                    : throw new CommandException($"--within: {seconds} is out of range; give seconds.");
            }

            var node = await call.Session.Cluster.DrainNodeAsync(request, call.Session.Call(call.Cancellation));
            call.Print(node, () => call.Output.WriteLine($"{node.Name}: {State(node)}"));
        });
        return command;
    }

    private static ExampledCommand Steer(
        CommandRunner runner, string verb, string description, Func<Session, string, CallOptions, AsyncUnaryCall<Node>> send)
    {
        var id = new Argument<string>("NODE") { Description = "Node id or full name." };
        var command = new ExampledCommand(verb, description, $"platform nodes {verb} node-1") { id };
        runner.Handle(command, async call =>
        {
            var node = await send(call.Session, ResourceNames.Node(call.Parse.GetRequiredValue(id)), call.Session.Call(call.Cancellation));
            call.Print(node, () => call.Output.WriteLine($"{node.Name}: {Show.State(node.State)}"));
        });
        return command;
    }

    private static string State(Node node) => node.LeaveTime is { } leaves
        ? $"{Show.State(node.State)}, gone at {leaves.ToDateTime():HH:mm:ss} UTC"
        : Show.State(node.State);

    private static string Group(Node node) => string.Join(
        ", ", new[] { node.Group, node.Spot ? "spot" : "", node.Cluster.Length > 0 ? $"for {node.Cluster}" : "" }.Where(word => word.Length > 0));

    private static string Devices(Node node) =>
        string.Join(", ", node.Devices.GroupBy(device => device.Kind).Select(kind => $"{kind.Count()} {kind.Key}"));
}
