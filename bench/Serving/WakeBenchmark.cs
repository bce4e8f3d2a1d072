using System.Globalization;
using Platform.Core.Deployments;

namespace Platform.Benchmarks.Serving;

/// <summary>How long the first request to a sleeping model waits beyond what it waits for when the model is awake.</summary>
internal static class WakeBenchmark
{
    /// <summary>Lets a model sleep and wakes it, several times.</summary>
    public static void Run(BenchModel model, EngineOptions options, BenchReport report, int repetitions)
    {
        using var engine = new EngineUnderTest(model, options with { EnablePrefixCaching = false });
        var random = new Random(31);
        int[] Prompt() => BesideLlamaCpp.Prompt(random, 16, model);
        var (awake, asleep, wakes) = (new List<double>(), new List<double>(), new List<double>());
        for (var i = 0; i <= repetitions; i++)
        {
            engine.PutToSleep();
            var woken = engine.FirstToken(Prompt());
            var warm = engine.FirstToken(Prompt());
            if (i == 0)
                continue;
            asleep.Add(woken);
            awake.Add(warm);
            wakes.Add(engine.Observer.WakeSeconds);
        }

        report.Row(
            "first token of a sleeping model, seconds", Text(BenchReport.Median(asleep)), $"awake {Text(BenchReport.Median(awake))}");
        report.Figure("wake_seconds", BenchReport.Median(asleep) - BenchReport.Median(awake));
        report.Figure("wake_load_seconds", BenchReport.Median(wakes));
    }

    private static string Text(double value) => value.ToString("0.000", CultureInfo.InvariantCulture);
}
