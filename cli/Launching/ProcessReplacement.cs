using System.Collections;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Platform.Cli.Launching;

/// <summary>A program and its arguments, without the program's own name.</summary>
internal sealed record ProgramStart(string Program, IReadOnlyList<string> Arguments);

/// <summary>Runs a program in place of this one.</summary>
internal static partial class ProcessReplacement
{
    /// <summary>
    /// Replaces this process by the program (execve), so that it has this process's id and gets its signals. Returns only
    /// where that is impossible: on Windows with the program's exit code, elsewhere by throwing.
    /// </summary>
    /// <exception cref="CommandException">The program cannot be run.</exception>
    public static int Run(ProgramStart start)
    {
        if (OperatingSystem.IsWindows())
        {
            using var process = Process.Start(start.Program, start.Arguments);
            process.WaitForExit();
            return process.ExitCode;
        }

        Console.Out.Flush();
        Console.Error.Flush();
        string?[] arguments = [start.Program, .. start.Arguments, null];
        string?[] environment = [.. Variables(), null];
        _ = Execve(start.Program, arguments, environment);
        throw new CommandException($"Cannot run {start.Program}: {Marshal.GetLastPInvokeErrorMessage()}.");
    }

    private static IEnumerable<string> Variables()
    {
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
            yield return $"{variable.Key}={variable.Value}";
    }

    // https://man7.org/linux/man-pages/man2/execve.2.html; both arrays end with a null pointer.
    [LibraryImport("libc", EntryPoint = "execve", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Execve(string path, string?[] arguments, string?[] environment);
}
