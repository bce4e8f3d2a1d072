using System.Globalization;
using Platform.Core.Deployments;
using Platform.Serving.Engine;

namespace Platform.Benchmarks.Serving;

/// <summary>The longest gap in running streams while a long prompt is admitted, and what that gap was made of.</summary>
internal static class StallBenchmark
{
    private const int Slots = 16;
    private const int PromptTokens = 1500;
    private const double Lead = 0.6;

    // Longest over median gap, with and without the prompt, the longest iteration, and that iteration's parts.
    private sealed record Trial(double Ratio, double Floor, double OwnRatio, double Median, double FirstToken, IterationTimes Longest);

    /// <summary>Measures at the default pacing and at the strictest.</summary>
    public static void Run(BenchModel model, EngineOptions options, BenchReport report, int repetitions, bool details)
    {
        foreach (var pacing in new[] { 4.0, 2.0 })
        {
            using var engine = new EngineUnderTest(model, options with { EnablePrefixCaching = false }, pacing);
            var random = new Random(11);
            var trials = new List<Trial>();
            // The first is a rehearsal: its code is compiled while it runs, and the engine learns what a prompt's token costs.
            for (var i = 0; i <= repetitions; i++)
            {
                var trial = Once(engine, model, random, details && i > 0);
                if (i > 0)
                    trials.Add(trial);
                if (details)
                    Console.WriteLine($"pacing {pacing:0}: {Text(trial)}");
            }

            var suffix = pacing == 4 ? "" : "_pacing_2";
            report.Row(
                $"longest gap beside {PromptTokens} tokens, pacing {pacing:0}", $"{Number(Median(t => t.Ratio))} x median",
                $"TTFT {Number(Median(t => t.FirstToken))} s; without {Number(Median(t => t.Floor))}", Number(Median(t => t.OwnRatio)));
            report.Figure($"stall_over_median_itl{suffix}", Median(t => t.Ratio));
            report.Figure($"stall_without_prompt_over_median_itl{suffix}", Median(t => t.Floor));
            report.Figure($"stall_less_waiting_for_processors_over_median_itl{suffix}", Median(t => t.OwnRatio));
            report.Figure($"stall_longest_wait_for_processors_ms{suffix}", 1000 * Median(t => t.Longest.Delay));
            report.Figure($"stall_prompt_ttft_seconds{suffix}", Median(t => t.FirstToken));

            double Median(Func<Trial, double> value) => BenchReport.Median(trials.Select(value));
        }
    }

    private static Trial Once(EngineUnderTest engine, BenchModel model, Random random, bool details)
    {
        using var stop = new CancellationTokenSource();
        using var watch = new IterationWatch();
        engine.Observer.Watch(watch);
        var streams = Enumerable.Range(0, Slots)
            .Select(_ => engine.TimesUntilAsync(BesideLlamaCpp.Prompt(random, 16, model), 2000, stop.Token)).ToArray();
        Thread.Sleep(TimeSpan.FromSeconds(Lead));
        var submitted = EngineUnderTest.Now;
        var first = engine.TimesAsync(BesideLlamaCpp.Prompt(random, PromptTokens, model), 1).GetAwaiter().GetResult()[0];
        Thread.Sleep(TimeSpan.FromSeconds(Math.Max(Lead, first - submitted)));
        var end = EngineUnderTest.Now;
        stop.Cancel();
        var times = Task.WhenAll(streams).GetAwaiter().GetResult();
        var gaps = times.SelectMany(stream => stream.Zip(stream.Skip(1), (a, b) => (At: b, Gap: b - a))).ToList();
        // Streams slow down as they grow longer, with or without a prompt, so what they take after it counts as before it.
        var half = Lead / 2;
        var median = BenchReport.Median(
            gaps.Where(gap => (gap.At < submitted && gap.At > submitted - half) || (gap.At - gap.Gap > first && gap.At < first + half))
                .Select(gap => gap.Gap));
        var beside = gaps.Where(gap => gap.At >= submitted && gap.At - gap.Gap <= first).Max(gap => gap.Gap);
        var without = gaps.Where(gap => gap.At - gap.Gap > first && gap.At < end).Max(gap => gap.Gap);
        var iterations = watch.Iterations.Where(i => i.End >= submitted && i.End - i.Cost.Seconds <= first && i.Cost.Streams > 0).ToList();
        if (details)
            iterations.Where((_, index) => index % Math.Max(1, iterations.Count / 12) == 0).ToList().ForEach(i => Console.WriteLine($"  {Text(i)}"));
        return new Trial(
            beside / median, without / median, iterations.Max(i => i.Cost.Seconds - i.Delay) / median, median, first - submitted,
            iterations.MaxBy(i => i.Cost.Seconds) ?? throw new InvalidOperationException("No iteration was seen."));
    }

    private static string Text(Trial trial) =>
        $"longest {Number(trial.Ratio)} x median {Number(1000 * trial.Median)} ms, without a prompt {Number(trial.Floor)}, "
        + $"less waiting for processors {Number(trial.OwnRatio)}, TTFT {Number(trial.FirstToken)} s; longest iteration: {Text(trial.Longest)}";

    private static string Text(IterationTimes iteration) =>
        $"{iteration.Cost.PromptTokens} prompt tokens after {iteration.Cost.PromptPairs / Math.Max(1, iteration.Cost.PromptTokens)}, "
        + $"predicted {Number(1000 * iteration.Cost.PredictedSeconds ?? 0)} ms, took {Number(1000 * iteration.Cost.Seconds)} ms, "
        + $"waited {Number(1000 * iteration.Delay)} ms for processors";

    private static string Number(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);
}

/// <summary>One iteration as the bench saw it.</summary>
/// <param name="End">When it ended, on the bench's clock.</param>
/// <param name="Cost">What it computed and took.</param>
/// <param name="Delay">How long a computing thread waited for a processor meanwhile, in seconds.</param>
/// <param name="AllocatedBytes">What the engine's thread allocated since the iteration before.</param>
internal sealed record IterationTimes(double End, IterationCost Cost, double Delay, long AllocatedBytes);

/// <summary>Iterations seen since it was made, until it is disposed.</summary>
internal sealed class IterationWatch : IDisposable
{
    private readonly ComputeDelay _delay = new();
    private readonly List<IterationTimes> _iterations = new(8192);
    private bool _closed;
    private long _allocated;

    public IReadOnlyList<IterationTimes> Iterations
    {
        get
        {
            lock (_iterations)
                return [.. _iterations];
        }
    }

    public void Add(IterationCost cost)
    {
        lock (_iterations)
        {
            if (_closed)
                return;
            var bytes = GC.GetAllocatedBytesForCurrentThread() - _allocated;
            _iterations.Add(new(EngineUnderTest.Now, cost, _delay.Take(), bytes));
            // What watching itself allocates is none of the engine's.
            _allocated = GC.GetAllocatedBytesForCurrentThread();
        }
    }

    public void Dispose()
    {
        lock (_iterations)
        {
            _closed = true;
            _delay.Dispose();
        }
    }
}
