using System.Diagnostics;
using Platform.Hosting.Ranks;

namespace Platform.Benchmarks.Training;

/// <summary>Runs a benchmark in a process that allocates as an agent has its ranks do, which only an environment at the start decides.</summary>
internal static class AsRank
{
    /// <summary>Runs the body if this process has that environment; else starts this program again with it and gives its exit code.</summary>
    public static int Run(string benchmark, string[] args, Func<int> body)
    {
        if (TrainingAllocator.Environment.All(setting => Environment.GetEnvironmentVariable(setting.Key) == setting.Value))
            return body();
        var start = new ProcessStartInfo(Environment.ProcessPath ?? throw new InvalidOperationException("this process has no path"), [benchmark, .. args]);
        foreach (var (name, value) in TrainingAllocator.Environment)
            start.Environment[name] = value;
        using var process = Process.Start(start) ?? throw new InvalidOperationException($"cannot start {start.FileName}");
        process.WaitForExit();
        return process.ExitCode;
    }
}
