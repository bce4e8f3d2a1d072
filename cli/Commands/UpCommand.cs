using System.CommandLine;
using System.Globalization;
using Platform.Cli.Launching;

namespace Platform.Cli.Commands;

/// <summary><c>platform up</c>: the whole platform on this machine, in place of this process.</summary>
internal static class UpCommand
{
    public static Command Create(CommandRunner runner)
    {
        var httpPort = new Option<int>("--http-port") { Description = "Port of the OpenAI API, the JSON API and metrics.", HelpName = "PORT", DefaultValueFactory = _ => 8080 };
        var grpcPort = new Option<int>("--grpc-port") { Description = "Port of the gRPC API.", HelpName = "PORT", DefaultValueFactory = _ => 8081 };
        var data = new Option<string?>("--data") { Description = "Directory of database, models and logs; kept between runs.", HelpName = "DIR" };
        var nodes = new Option<int?>("--nodes") { Description = "Virtual nodes, 2 if not given; with --provider local those that are kept always, none if not given.", HelpName = "N" };
        var provider = new Option<string>("--provider") { Description = "static: all nodes from the start. local: node processes start and stop as jobs need them.", HelpName = "NAME", DefaultValueFactory = _ => "static" };
        provider.AcceptOnlyFromAmong("static", "local");
        var maxNodes = new Option<int>("--max-nodes") { Description = "Nodes that there may be at most with --provider local.", HelpName = "N", DefaultValueFactory = _ => 4 };
        var devices = new Option<int>("--devices-per-node") { Description = "Virtual CPU devices of each node.", HelpName = "N", DefaultValueFactory = _ => 4 };
        var host = new Option<string?>("--host") { Description = "Interface to listen on; only this machine when not given.", HelpName = "ADDRESS" };
        var readyFile = new Option<string?>("--ready-file") { Description = "File to write the addresses to, as JSON, once it is up; deleted at the end.", HelpName = "FILE" };
        var settings = new Argument<string[]>("SETTING")
        {
            Description = "Further settings of the services, after --, such as --Scheduler:LeaseSeconds=5.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var command = new ExampledCommand(
            "up",
            "Run the whole platform on this machine until Ctrl-C.",
            "platform up",
            "platform up --data /tmp/try --nodes 1 --devices-per-node 8",
            "platform up --provider local --max-nodes 4")
        {
            httpPort, grpcPort, host, data, nodes, provider, maxNodes, devices, readyFile, settings,
        };
        runner.HandleLocally(command, (parse, _) =>
        {
            string Number(Option<int> option, int min, int max) => parse.GetValue(option) is var value && value >= min && value <= max
                ? value.ToString(CultureInfo.InvariantCulture)
                : throw new CommandException($"{option.Name}: {value} is out of range; allowed is {min} to {max}.");
            bool isElastic = parse.GetValue(provider) == "local";
            int count = parse.GetValue(nodes) ?? (isElastic ? 0 : 2), fewest = isElastic ? 0 : 1;
            if (count < fewest || count > 64)
                throw new CommandException($"--nodes: {count} is out of range; allowed is {fewest} to 64.");
            List<string> arguments =
            [
                "--http-port", Number(httpPort, 0, 65_535), "--grpc-port", Number(grpcPort, 0, 65_535),
                "--nodes", count.ToString(CultureInfo.InvariantCulture), "--devices-per-node", Number(devices, 1, 64),
            ];
            if (isElastic)
                arguments.AddRange(["--provider", "local", "--max-nodes", Number(maxNodes, 1, 64)]);
            if (parse.GetValue(host) is { } address)
                arguments.AddRange(["--host", address]);
            if (parse.GetValue(data) is { } directory)
                arguments.AddRange(["--data", runner.Terminal.Absolute(directory)]);
            if (parse.GetValue(readyFile) is { } file)
                arguments.AddRange(["--ready-file", runner.Terminal.Absolute(file)]);
            arguments.AddRange(parse.GetValue(settings) ?? []);
            var program = LocalProgram.Standalone.Find(runner.Terminal.Variable, AppContext.BaseDirectory);
            return Task.FromResult(runner.Terminal.BecomeProgram(new ProgramStart(program, arguments)));
        });
        return command;
    }
}
