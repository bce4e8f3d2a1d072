using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Platform.Cli.Commands;

namespace Platform.Cli;

/// <summary>All commands of the program.</summary>
internal static class CommandTree
{
    /// <summary>Runs one command line.</summary>
    /// <param name="args">Arguments without the program's name.</param>
    /// <param name="terminal">What surrounds the run.</param>
    /// <param name="cancellation">Ctrl-C.</param>
    /// <returns>Exit code; 0 only when what was asked for is done.</returns>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, Terminal terminal, CancellationToken cancellation)
    {
        // A prompt may begin with '@', so files of arguments are not read.
        var parse = Build(terminal).Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parse.Action is ParseErrorAction mistake)
            mistake.ShowHelp = parse.UnmatchedTokens.Count == 0 && parse.CommandResult.Command.Subcommands.Count > 0;
        return await parse.InvokeAsync(
            new InvocationConfiguration
            {
                Output = terminal.Output,
                Error = terminal.Error,
                ProcessTerminationTimeout = null,
                EnableDefaultExceptionHandler = false,
            },
            cancellation);
    }

    private static RootCommand Build(Terminal terminal)
    {
        var options = new GlobalOptions();
        var runner = new CommandRunner(terminal, options);
        var root = new RootCommand("Trains and serves language models on your own machines.")
        {
            UpCommand.Create(runner),
            TrainCommand.Create(runner),
            PlanCommand.Create(runner),
            JobsCommand.Create(runner),
            ModelsCommand.Create(runner),
            DeployCommand.Create(runner),
            DeploymentsCommand.Create(runner),
            GenerateCommand.Create(runner),
            ChatCommand.Create(runner),
            CompareCommand.Create(runner),
            NodesCommand.Create(runner),
            QueuesCommand.Create(runner),
            UsageCommand.Create(runner),
            SimulateCommand.Create(runner),
            TopCommand.Create(runner),
            DoctorCommand.Create(runner),
            BenchCommand.Create(runner),
        };
        options.AddTo(root);
        foreach (var help in root.Options.OfType<HelpOption>())
            help.Action = new ExamplesHelpAction(terminal.Output);
        return root;
    }
}
