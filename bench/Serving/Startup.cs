using System.Diagnostics;
using System.Globalization;
using Platform.Core.Deployments;

namespace Platform.Benchmarks.Serving;

/// <summary>How long a replica takes from nothing.</summary>
internal static class Startup
{
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(2);

    /// <summary>Seconds from the start of the process to its listeners being up.</summary>
    public static void Ready(BenchModel model, EngineOptions options, BenchReport report, int repetitions)
    {
        var program = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "Platform.Serving", "release", "platform-serving"));
        if (!File.Exists(program))
        {
            report.Row("process start to ready, seconds", "not built", program);
            return;
        }

        var seconds = new List<double>();
        for (var i = 0; i < repetitions; i++)
            seconds.Add(Once(program, model, options));
        report.Row("process start to ready, seconds", BenchReport.Median(seconds).ToString("0.00", CultureInfo.InvariantCulture));
        report.Figure("ready_seconds", BenchReport.Median(seconds));
    }

    private static double Once(string program, BenchModel model, EngineOptions options)
    {
        var ready = Path.Combine(model.Directory, "ready");
        File.Delete(ready);
        var started = EngineUnderTest.Now;
        using var process = Process.Start(new ProcessStartInfo(program, ["--model", model.Directory, "--dtype", options.Dtype, "--ready-file", ready])
        {
            RedirectStandardOutput = true,
        }) ?? throw new InvalidOperationException("The replica did not start.");
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        try
        {
            while (!File.Exists(ready))
            {
                if (process.HasExited || EngineUnderTest.Now - started > Longest.TotalSeconds)
                    throw new InvalidOperationException("The replica did not become ready.");
                Thread.Sleep(2);
            }

            return EngineUnderTest.Now - started;
        }
        finally
        {
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
        }
    }
}
