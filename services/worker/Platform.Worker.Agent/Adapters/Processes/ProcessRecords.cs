using System.Globalization;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Platform.Worker.Agent.Adapters.Processes;

/// <summary>
/// Remembers on disk which process groups the agent started, so that its next run can end those that outlived it. A
/// process is known by its id, its start time and the machine's boot, for ids are used again.
/// </summary>
internal sealed partial class ProcessRecords(AgentDirectory directory, ILogger<ProcessRecords> logger)
{
    private static readonly TimeSpan KillTimeout = TimeSpan.FromSeconds(10);

    public void Add(int processId)
    {
        if (StartTicks(processId) is { } ticks)
        {
            File.WriteAllText(PathOf(processId), JsonSerializer.Serialize(new Entry(processId, ticks, BootId())));
        }
    }

    public void Remove(int processId) => File.Delete(PathOf(processId));

    /// <summary>Kills what former runs left and waits until it is gone.</summary>
    /// <exception cref="TimeoutException">A process does not end; its devices must not be offered.</exception>
    public async Task KillLeftoversAsync(CancellationToken cancellationToken)
    {
        foreach (string file in Directory.GetFiles(directory.ProcessRecords, "*.json"))
        {
            if (ReadEntry(file) is { } entry && entry.BootId == BootId() && StartTicks(entry.ProcessId) == entry.StartTicks)
            {
                LogLeftover(logger, entry.ProcessId);
                await KillAsync(entry, cancellationToken);
            }

            File.Delete(file);
        }
    }

    private static async Task KillAsync(Entry entry, CancellationToken cancellationToken)
    {
        using var limit = new CancellationTokenSource(KillTimeout);
        while (StartTicks(entry.ProcessId) == entry.StartTicks)
        {
            Signals.SendToGroup(entry.ProcessId, Signals.Kill);
            if (limit.IsCancellationRequested)
            {
                throw new TimeoutException($"Process {entry.ProcessId} of a former run of this agent cannot be killed.");
            }

            await Task.Delay(20, cancellationToken);
        }
    }

    /// <summary>Start time in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)); null when there is no such process, or only a zombie.</summary>
    private static ulong? StartTicks(int processId)
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

    private static string BootId() =>
        File.Exists("/proc/sys/kernel/random/boot_id") ? File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim() : "";

    private static Entry? ReadEntry(string file)
    {
        try
        {
            return JsonSerializer.Deserialize<Entry>(File.ReadAllText(file));
        }
        catch (JsonException)
        {
            // The machine stopped while it was written; then the process is gone too.
            return null;
        }
    }

    private string PathOf(int processId) => Path.Combine(directory.ProcessRecords, $"{processId}.json");

    [LoggerMessage(EventId = 2010, Level = LogLevel.Warning, Message = "Killing process {ProcessId}, left by a former run of this agent")]
    private static partial void LogLeftover(ILogger logger, int processId);

    private sealed record Entry(int ProcessId, ulong StartTicks, string BootId);
}
