using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Platform.Scheduler.Adapters.Capacity;

/// <summary>
/// Node agents as processes. Each leads a session of its own, so that a terminal's Ctrl-C does not reach it, and gets
/// SIGTERM from the kernel when the thread that started it ends, which lives as long as the scheduler (prctl(2)
/// PR_SET_PDEATHSIG); the agent then stops what it runs. Records on disk name those that might outlive it all the same.
/// </summary>
internal static partial class AgentProcess
{
    private const int Terminate = 15;
    private const int Killing = 9;

    // The shell replaces itself, so that the process id stays the same.
    private const string Script = "exec \"$@\" >>\"$PLATFORM_LOG\" 2>&1";

    /// <summary>Starts an agent; to be called on the thread whose end is to end it.</summary>
    public static Process Start(IReadOnlyList<string> command, string log, IReadOnlyDictionary<string, string?> environment)
    {
        var start = new ProcessStartInfo("/bin/sh", ["-c", Script, "sh", "setsid", "setpriv", "--pdeathsig", "TERM", "--", .. command])
        {
            RedirectStandardInput = true,
            UseShellExecute = false,
        };
        start.Environment.Remove("ASPNETCORE_URLS");
        start.Environment["PLATFORM_LOG"] = log;
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        return Process.Start(start) ?? throw new InvalidOperationException("No process was started.");
    }

    /// <summary>Asks an agent to stop.</summary>
    public static void Stop(int processId) => _ = Send(processId, Terminate);

    /// <summary>Ends an agent at once.</summary>
    public static void Kill(int processId) => _ = Send(processId, Killing);

    /// <summary>Start time in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)); null when there is no such process, or only a zombie.</summary>
    public static ulong? StartTicks(int processId)
    {
        try
        {
            string stat = File.ReadAllText($"/proc/{processId}/stat");
            // The second field is the command in parentheses and may contain anything.
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : ulong.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Send(int processId, int signal);
}
