using System.ComponentModel;
using System.Diagnostics;
using Platform.Core.Cluster;
using Platform.Core.Validation;
using Platform.Hosting.Configuration;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters.Processes;

/// <summary>Asks the NVIDIA driver's tool for the GPUs of this machine.</summary>
internal static class NvidiaSmi
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>GPUs by index.</summary>
    /// <param name="program">The tool: a name on the path, or a file.</param>
    /// <exception cref="InvalidConfigurationException">The tool is missing, fails, or finds nothing.</exception>
    public static IReadOnlyList<DeviceInfo> List(string program)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, GpuList.Arguments) { RedirectStandardOutput = true, RedirectStandardError = true })
                ?? throw new Win32Exception("no process was started");
            Task<string> errors = process.StandardError.ReadToEndAsync();
            Task<string> output = process.StandardOutput.ReadToEndAsync();
            if (!process.WaitForExit(Patience))
            {
                process.Kill(entireProcessTree: true);
                throw Refused($"{program} does not end");
            }

            string said = output.GetAwaiter().GetResult();
            if (process.ExitCode != 0)
            {
                throw Refused($"{program} ended with {process.ExitCode}: {(said + errors.GetAwaiter().GetResult()).Trim()}");
            }

            IReadOnlyList<DeviceInfo> found = GpuList.Read(said);
            return found.Count > 0 ? found : throw Refused($"{program} lists no GPU");
        }
        catch (Win32Exception missing)
        {
            throw Refused($"{program} cannot be run ({missing.Message})");
        }
        catch (FormatException strange)
        {
            throw Refused(strange.Message);
        }
    }

    private static InvalidConfigurationException Refused(string why) =>
        new([new Violation("Agent:DeviceKind", $"cuda needs the NVIDIA driver: {why}.")]);
}
