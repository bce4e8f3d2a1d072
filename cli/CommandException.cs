namespace Platform.Cli;

/// <summary>A command cannot go on; the message is for its user and ends the program with an exit code.</summary>
/// <param name="message">What is wrong and what to do, one or several lines.</param>
/// <param name="exitCode">Exit code, not 0.</param>
internal sealed class CommandException(string message, int exitCode = ExitCode.Failure) : Exception(message)
{
    /// <summary>Exit code.</summary>
    public int ExitCode { get; } = exitCode;
}

/// <summary>Exit codes of the program.</summary>
internal static class ExitCode
{
    /// <summary>What was asked for is done.</summary>
    public const int Success = 0;

    /// <summary>It is not.</summary>
    public const int Failure = 1;

    /// <summary>Interrupted by its user, as shells count SIGINT.</summary>
    public const int Interrupted = 130;
}
