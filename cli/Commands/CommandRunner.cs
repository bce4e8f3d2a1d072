using System.CommandLine;
using System.Diagnostics;
using Google.Protobuf;
using Grpc.Core;
using Platform.Cli.Output;
using Platform.Cli.Server;

namespace Platform.Cli.Commands;

/// <summary>One run of a command that talks to a server.</summary>
internal sealed record CommandCall(ParseResult Parse, Terminal Terminal, Session Session, OutputFormat Format, CancellationToken Cancellation)
{
    /// <summary>Where results go.</summary>
    public TextWriter Output => Terminal.Output;

    /// <summary>Prints a message: as JSON or YAML if asked for, else by the table.</summary>
    public void Print(IMessage message, Action table)
    {
        if (Format == OutputFormat.Table)
            table();
        else
            MessageWriter.Write(Output, message, Format);
    }

    /// <summary>Prints what a creating command made: the message, or the resource's name as the last line.</summary>
    public void PrintCreated(IMessage message, string name) => Print(message, () => Output.WriteLine(name));
}

/// <summary>Runs commands: connects, traces, and turns failures into messages and exit codes.</summary>
internal sealed class CommandRunner(Terminal terminal, GlobalOptions options)
{
    /// <summary>What surrounds the run.</summary>
    public Terminal Terminal => terminal;

    /// <summary>Options that every command has.</summary>
    public GlobalOptions Options => options;

    /// <summary>Sets what a command that talks to a server does.</summary>
    public void Handle(Command command, Func<CommandCall, Task<int>> action) => command.SetAction((parse, cancellation) =>
        GuardAsync(parse, async () =>
        {
            using var session = options.Connect(parse, terminal);
            return await action(new CommandCall(parse, terminal, session, options.Format(parse), cancellation));
        }, cancellation));

    /// <summary>Sets what a command that ends well unless it throws does.</summary>
    public void Handle(Command command, Func<CommandCall, Task> action) => Handle(command, async call =>
    {
        await action(call);
        return ExitCode.Success;
    });

    /// <summary>Sets what a command without a server does.</summary>
    public void HandleLocally(Command command, Func<ParseResult, CancellationToken, Task<int>> action) =>
        command.SetAction((parse, cancellation) => GuardAsync(parse, () => action(parse, cancellation), cancellation));

    private async Task<int> GuardAsync(ParseResult parse, Func<Task<int>> action, CancellationToken cancellation)
    {
        using Activity? activity = Tracing.Begin(parse.CommandResult.Command.Name);
        try
        {
            return await action();
        }
        catch (CommandException error)
        {
            terminal.Error.WriteLine(error.Message);
            return error.ExitCode;
        }
        catch (RpcException) when (cancellation.IsCancellationRequested)
        {
            return ExitCode.Interrupted;
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            return ExitCode.Interrupted;
        }
        catch (RpcException error)
        {
            foreach (var line in ErrorText.Lines(error, options.Server(parse, terminal)))
                terminal.Error.WriteLine(line);
            return ExitCode.Failure;
        }
    }
}
