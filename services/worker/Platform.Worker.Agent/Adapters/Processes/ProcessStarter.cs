using System.Collections.Concurrent;
using System.ComponentModel;
using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Platform.Worker.Agent.Adapters.Processes;

/// <summary>What to start.</summary>
/// <param name="Command">Program and arguments.</param>
/// <param name="LogPath">File that takes standard output and error.</param>
/// <param name="Environment">Variables set in addition to the agent's own.</param>
internal sealed record ProcessOrder(IReadOnlyList<string> Command, string LogPath, IReadOnlyDictionary<string, string> Environment);

/// <summary>
/// Starts processes that cannot outlive the agent. Each is the leader of a session of its own, so that whatever it
/// starts is killed with it and a terminal's Ctrl-C does not reach it; it gets SIGKILL from the kernel when the agent
/// dies (prctl(2) PR_SET_PDEATHSIG); and its standard input ends then, for programs that watch it.
/// </summary>
internal sealed partial class ProcessStarter : IDisposable
{
    // The shell replaces itself twice, so that the process id stays the same.
    private const string Script = "exec \"$@\" >>\"$PLATFORM_LOG\" 2>&1";

    private readonly BlockingCollection<Action> _orders = new(boundedCapacity: 256);
    private readonly ProcessRecords _records;
    private readonly ILogger _logger;
    private readonly string[] _prefix;

    public ProcessStarter(ProcessRecords records, ILogger<ProcessStarter> logger)
    {
        _records = records;
        _logger = logger;
        bool canDieWithParent = Exists("setpriv"), canLeadSession = Exists("setsid");
        if (!canDieWithParent || !canLeadSession)
        {
            LogWeak(logger);
        }

        _prefix =
        [
            "-c", Script, "sh", .. canLeadSession ? ["setsid"] : Array.Empty<string>(),
            .. canDieWithParent ? ["setpriv", "--pdeathsig", "KILL", "--"] : Array.Empty<string>(),
        ];
        // The kernel's signal is tied to the thread that started the child: this one lives as long as the agent.
        new Thread(Run) { IsBackground = true, Name = "process starter" }.Start();
    }

    /// <summary>Starts a process.</summary>
    /// <param name="order">What to start.</param>
    /// <param name="exited">Called once with the exit code (128 + n for signal n), when no process of its group is left.</param>
    /// <returns>Process id, which is also the id of its group.</returns>
    /// <exception cref="Win32Exception">It could not be started.</exception>
    public Task<int> StartAsync(ProcessOrder order, Func<int, Task> exited)
    {
        var started = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
        _orders.Add(() =>
        {
            try
            {
                Process process = StartProcess(order);
                _records.Add(process.Id);
                started.SetResult(process.Id);
                _ = WatchAsync(process, exited);
            }
            catch (Exception exception)
            {
                started.SetException(exception);
            }
        });
        return started.Task;
    }

    public void Dispose() => _orders.CompleteAdding();

    /// <summary>Whether a program is on the path.</summary>
    public static bool Exists(string program) =>
        program.Contains('/', StringComparison.Ordinal)
            ? File.Exists(program)
            : (Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin").Split(':').Any(d => File.Exists(Path.Combine(d, program)));

    private Process StartProcess(ProcessOrder order)
    {
        var start = new ProcessStartInfo("/bin/sh", [.. _prefix, .. order.Command])
        {
            RedirectStandardInput = true,
            UseShellExecute = false,
        };
        start.Environment.Remove("ASPNETCORE_URLS");
        start.Environment["PLATFORM_LOG"] = order.LogPath;
        foreach ((string name, string value) in order.Environment)
        {
            start.Environment[name] = value;
        }

        return Process.Start(start) ?? throw new Win32Exception("No process was started.");
    }

    private async Task WatchAsync(Process process, Func<int, Task> exited)
    {
        int processId = process.Id, exitCode;
        using (process)
        {
            await process.WaitForExitAsync(CancellationToken.None);
            exitCode = process.ExitCode;
        }

        // Whatever it started goes with it.
        Signals.SendToGroup(processId, Signals.Kill);
        _records.Remove(processId);
        try
        {
            await exited(exitCode);
        }
        catch (Exception exception)
        {
            LogExitLost(_logger, exception, processId);
        }
    }

    private void Run()
    {
        foreach (Action order in _orders.GetConsumingEnumerable())
        {
            order();
        }
    }

    [LoggerMessage(EventId = 2011, Level = LogLevel.Warning,
        Message = "setpriv or setsid (util-linux) is missing: ranks end with this agent only through its socket, after a grace")]
    private static partial void LogWeak(ILogger logger);

    [LoggerMessage(EventId = 2012, Level = LogLevel.Error, Message = "The end of process {ProcessId} could not be handled")]
    private static partial void LogExitLost(ILogger logger, Exception exception, int processId);
}
