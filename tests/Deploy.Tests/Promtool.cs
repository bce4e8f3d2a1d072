using System.Diagnostics;
using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>The real promtool, which comes with Prometheus.</summary>
internal static class Promtool
{
    /// <summary>Runs it in the directory of the rules and fails with what it says unless it is content.</summary>
    public static void Accepts(params string[] arguments)
    {
        var (exitCode, output) = Run(arguments);
        Assert.True(exitCode == 0, $"promtool {string.Join(' ', arguments)} exits with {exitCode}:\n{output}");
    }

    /// <summary>Runs it; skips the test where it is not installed.</summary>
    public static (int ExitCode, string Output) Run(params string[] arguments)
    {
        var program = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
            .Append("/usr/bin").Select(directory => Path.Combine(directory, "promtool")).FirstOrDefault(File.Exists);
        Assert.SkipWhen(program is null, "promtool is not installed (Debian package prometheus).");
        var start = new ProcessStartInfo(program!, arguments)
        {
            WorkingDirectory = Repository.At("deploy/prometheus"),
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start) ?? throw new InvalidOperationException("promtool did not start.");
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.GetAwaiter().GetResult());
    }
}
