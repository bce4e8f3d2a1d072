using Platform.Cli.Launching;

namespace Platform.Cli;

/// <summary>What surrounds one run of the program: streams, environment, directory, and how another program is run.</summary>
internal sealed class Terminal
{
    /// <summary>Where answers come from.</summary>
    public required TextReader Input { get; init; }

    /// <summary>Where results go.</summary>
    public required TextWriter Output { get; init; }

    /// <summary>Where errors and remarks go, so that results can be piped.</summary>
    public required TextWriter Error { get; init; }

    /// <summary>Results go to a person's screen and may be redrawn.</summary>
    public required bool IsInteractive { get; init; }

    /// <summary>Questions are answered by a person.</summary>
    public required bool IsInputInteractive { get; init; }

    /// <summary>Directory that relative paths start from.</summary>
    public required string Directory { get; init; }

    /// <summary>Reads an environment variable.</summary>
    public required Func<string, string?> Variable { get; init; }

    /// <summary>Runs another program in place of this one and gives its exit code where the system cannot replace processes.</summary>
    public required Func<ProgramStart, int> BecomeProgram { get; init; }

    /// <summary>Those of this process.</summary>
    public static Terminal OfProcess() => new()
    {
        Input = Console.In,
        Output = Console.Out,
        Error = Console.Error,
        IsInteractive = !Console.IsOutputRedirected,
        IsInputInteractive = !Console.IsInputRedirected,
        Directory = Environment.CurrentDirectory,
        Variable = Environment.GetEnvironmentVariable,
        BecomeProgram = ProcessReplacement.Run,
    };

    /// <summary>A path made absolute, <c>~</c> included.</summary>
    public string Absolute(string path) =>
        Path.GetFullPath(ExpandHome(path), Directory);

    /// <summary>A path with a leading <c>~</c> replaced by the home directory.</summary>
    public string ExpandHome(string path) =>
        (path == "~" || path.StartsWith("~/", StringComparison.Ordinal)) && Variable("HOME") is { Length: > 0 } home
            ? home + path[1..]
            : path;
}
