using System.Runtime.InteropServices;
using System.Text.Json;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Configuration;
using Platform.Hosting.Errors;

namespace Platform.Standalone;

/// <summary>The program <c>platform-standalone</c>: starts the platform, says where it is, and stops it on SIGINT or SIGTERM.</summary>
public static class StandaloneProgram
{
    private static readonly Dictionary<string, string> Switches = new()
    {
        ["--http-port"] = "Standalone:HttpPort",
        ["--grpc-port"] = "Standalone:GrpcPort",
        ["--host"] = "Standalone:Host",
        ["--data"] = "Standalone:Data",
        ["--nodes"] = "Standalone:Nodes",
        ["--provider"] = "Standalone:Provider",
        ["--max-nodes"] = "Standalone:MaxNodes",
        ["--devices-per-node"] = "Standalone:DevicesPerNode",
        ["--ready-file"] = "Standalone:ReadyFile",
    };

    /// <summary>Runs the platform until it is told to stop.</summary>
    /// <returns>Exit code: 0, 78 for wrong settings, 69 when something needed is not there, 1 when a port is taken.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
        using var stop = new CancellationTokenSource();
        void Stop(PosixSignalContext signal)
        {
            signal.Cancel = true;
            stop.Cancel();
        }
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, Stop);
        try
        {
            var configuration = new ConfigurationBuilder().AddEnvironmentVariables().AddCommandLine(args, Switches).Build();
            var options = PlatformOptions.Read<StandaloneOptions>(configuration, StandaloneOptions.Section);
            string? readyFile = configuration["Standalone:ReadyFile"];
            string[] passedOn = [.. ServiceSettings(args)];
            using var data = DataDirectory.Open(options.Data);
            await using var platform = await StandalonePlatform.StartAsync(options, data, passedOn, stop.Token);
            if (!string.IsNullOrEmpty(readyFile))
                WriteReadyFile(readyFile, platform);
            Announce(options, data, platform);
            try
            {
                await Task.Delay(Timeout.Infinite, stop.Token);
            }
            catch (OperationCanceledException)
            {
                await Console.Out.WriteLineAsync("Stopping: jobs go on from their last checkpoint when the platform is started again.");
            }
            if (!string.IsNullOrEmpty(readyFile))
                File.Delete(readyFile);
            return 0;
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return 130;
        }
        catch (InvalidConfigurationException e)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 78;
        }
        catch (PlatformException e)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 69;
        }
        catch (IOException e)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 1;
        }
    }

    // What is not one of our own switches belongs to a service: --Section:Key value or --Section:Key=value.
    private static IEnumerable<string> ServiceSettings(string[] args)
    {
        for (int i = 0; i < args.Length; i++)
        {
            bool own = Switches.ContainsKey(args[i].Split('=')[0]);
            bool hasValue = !args[i].Contains('=') && i + 1 < args.Length;
            if (!own)
                yield return args[i];
            if (!hasValue)
                continue;
            i++;
            if (!own)
                yield return args[i];
        }
    }

    private static void WriteReadyFile(string path, StandalonePlatform platform) => AtomicFile.WriteText(
        Path.GetFullPath(path),
        JsonSerializer.Serialize(new
        {
            service = "standalone",
            pid = Environment.ProcessId,
            addresses = new { http = platform.HttpAddress, grpc = platform.GrpcAddress },
        }));

    private static void Announce(StandaloneOptions options, DataDirectory data, StandalonePlatform platform) => Console.Out.WriteLine(
        $"""
        The platform is up: {(options.IsElastic ? $"{options.Nodes} to {options.MaxNodes}" : options.Nodes)} nodes with {options.DevicesPerNode} CPU devices each.
          OpenAI and JSON API   {platform.HttpAddress}/v1  {platform.HttpAddress}/api/v1
          gRPC API              {platform.GrpcAddress}
          metrics               {platform.HttpAddress}/metrics
          data                  {data.Root}
        Ctrl-C stops it.
        """);
}
