using System.Runtime.InteropServices;

namespace Platform.Worker.Agent.Adapters.Processes;

/// <summary>Signals to process groups.</summary>
internal static partial class Signals
{
    public const int Terminate = 15;
    public const int Kill = 9;

    /// <summary>Signals every process of a group; a group that is gone is no error.</summary>
    public static void SendToGroup(int leader, int signal) => _ = Send(-leader, signal);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Send(int processId, int signal);
}
