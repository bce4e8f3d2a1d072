using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Platform.Benchmarks.Serving;

/// <summary>llama.cpp in a process of its own, through the npm package <c>node-llama-cpp</c> with its prebuilt library.</summary>
internal sealed class LlamaCpp : IDisposable
{
    private const string Package = "node-llama-cpp@3.22.1";
    private static readonly TimeSpan InstallTimeout = TimeSpan.FromMinutes(5);

    private readonly Process _process;

    private LlamaCpp(Process process) => _process = process;

    /// <summary>Where the package is installed unless told otherwise.</summary>
    public static string DefaultModules => Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "llama.cpp"));

    /// <summary>Starts it, installing the package first where it is missing.</summary>
    /// <param name="modelPath">GGUF file.</param>
    /// <param name="modules">Directory of the package.</param>
    /// <param name="threads">Threads.</param>
    /// <param name="precision"><c>fp32</c> for a key/value cache in fp32; anything else leaves the default.</param>
    /// <param name="contextSize">Tokens of each of its sequences.</param>
    /// <param name="absence">Why there is none, when the result is null.</param>
    public static LlamaCpp? TryStart(string modelPath, string modules, int threads, string precision, int contextSize, out string absence)
    {
        try
        {
            if (!Directory.Exists(Path.Combine(modules, "node_modules", "node-llama-cpp")) && !Install(modules))
            {
                absence = $"npm could not install {Package}";
                return null;
            }

            var script = Path.Combine(modules, "llamacpp.mjs");
            using (var source = typeof(LlamaCpp).Assembly.GetManifestResourceStream("llamacpp.mjs") ?? throw new InvalidOperationException("The script is not part of this program."))
            using (var target = File.Create(script))
                source.CopyTo(target);
            var process = Start("node", modules, script, modules, modelPath, threads.ToString(CultureInfo.InvariantCulture), contextSize.ToString(CultureInfo.InvariantCulture), precision);
            var started = new LlamaCpp(process);
            if (process.StandardOutput.ReadLine() is { } line && line.Contains("ready", StringComparison.Ordinal))
            {
                absence = "";
                return started;
            }

            absence = "node-llama-cpp did not start";
            started.Dispose();
            return null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            absence = "node and npm are not installed";
            return null;
        }
    }

    /// <summary>When each token of each stream came, in seconds of one clock.</summary>
    public double[][] Stream(int[][] prompts, int count) => Ask(prompts, count).GetProperty("streams").Deserialize<double[][]>() ?? [];

    /// <summary>The most likely tokens after each prompt.</summary>
    public int[][] Greedy(int[][] prompts, int count) => Ask(prompts, count).GetProperty("tokens").Deserialize<int[][]>() ?? [];

    /// <summary>Seconds that a prompt takes.</summary>
    public double Prefill(int[] prompt) => Ask([prompt], 0).GetProperty("seconds").GetDouble();

    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        _process.WaitForExit();
        _process.Dispose();
    }

    private JsonElement Ask(int[][] prompts, int count)
    {
        _process.StandardInput.WriteLine(JsonSerializer.Serialize(new { prompts, count }));
        _process.StandardInput.Flush();
        var line = _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException("llama.cpp ended.");
        return JsonDocument.Parse(line).RootElement;
    }

    private static bool Install(string modules)
    {
        Directory.CreateDirectory(modules);
        Console.WriteLine($"installing {Package} …");
        using var npm = Start("npm", modules, "install", "--prefix", modules, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error", Package);
        npm.StandardOutput.ReadToEndAsync().ContinueWith(_ => { }, TaskScheduler.Default);
        if (npm.WaitForExit(InstallTimeout))
            return npm.ExitCode == 0;
        npm.Kill(entireProcessTree: true);
        return false;
    }

    private static Process Start(string program, string directory, params string[] arguments) =>
        Process.Start(new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = directory,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        }) ?? throw new InvalidOperationException($"{program} did not start.");
}
