using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Platform.Cli.Commands;

/// <summary>A command whose help ends with examples.</summary>
/// <param name="name">Word on the command line.</param>
/// <param name="description">What it does.</param>
/// <param name="examples">Command lines.</param>
internal sealed class ExampledCommand(string name, string description, params string[] examples) : Command(name, description)
{
    /// <summary>Command lines that show its use.</summary>
    public IReadOnlyList<string> Examples => examples;
}

/// <summary>Help as usual, then the command's examples.</summary>
internal sealed class ExamplesHelpAction(TextWriter output) : SynchronousCommandLineAction
{
    private readonly HelpAction _help = new();

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        var code = _help.Invoke(parseResult);
        if (parseResult.CommandResult.Command is ExampledCommand { Examples.Count: > 0 } command)
        {
            output.WriteLine("Examples:");
            foreach (var example in command.Examples)
                output.WriteLine($"  {example}");
            output.WriteLine();
        }

        return code;
    }
}
