using System.Globalization;
using Platform.Core.Deployments;

namespace Platform.Benchmarks.Serving;

/// <summary>What batching, pacing, the prefix cache and paging give, measured with the same kernels with and without.</summary>
internal static class AgainstItself
{
    private const int Slots = 16;

    /// <summary>Requests of exponential output lengths, continuously and in batches that end with their longest.</summary>
    public static void Static(BenchModel model, EngineOptions options, BenchReport report, int requests)
    {
        const double meanTokens = 32;
        var random = new Random(5);
        var work = Enumerable.Range(0, requests)
            .Select(_ => (Prompt: BesideLlamaCpp.Prompt(random, 8, model), Tokens: 1 + (int)(-Math.Log(1 - random.NextDouble()) * meanTokens)))
            .ToArray();
        using var engine = new EngineUnderTest(model, options with { MaxNumSeqs = Slots, EnablePrefixCaching = false });
        engine.Stream([work[0].Prompt], 8);

        var started = EngineUnderTest.Now;
        Task.WhenAll(work.Select(request => engine.TimesAsync(request.Prompt, request.Tokens))).GetAwaiter().GetResult();
        var continuous = EngineUnderTest.Now - started;

        started = EngineUnderTest.Now;
        foreach (var batch in work.Chunk(Slots))
            engine.Stream([.. batch.Select(request => request.Prompt)], batch.Max(request => request.Tokens));
        var fixedBatches = EngineUnderTest.Now - started;

        report.Row(
            $"{requests} requests, {Slots} slots, seconds", Text(continuous), $"static batches {Text(fixedBatches)}", Text(fixedBatches / continuous));
        report.Figure("continuous_vs_static_ratio", fixedBatches / continuous);
        var bound = work.Chunk(Slots).Sum(batch => (double)batch.Max(r => r.Tokens)) / (work.Sum(r => (double)r.Tokens) / Slots);
        report.Figure("continuous_vs_static_bound", bound);
    }

    /// <summary>Time to first token of a prompt of which 90 % is known.</summary>
    public static void PrefixHit(BenchModel model, EngineOptions options, BenchReport report, int repetitions)
    {
        const int length = 1024, shared = 928;
        using var engine = new EngineUnderTest(model, options with { EnablePrefixCaching = true });
        var random = new Random(13);
        var ratios = new List<double>();
        for (var i = 0; i <= repetitions; i++)
        {
            var prompt = BesideLlamaCpp.Prompt(random, length, model);
            var cold = engine.FirstToken(prompt);
            var hit = engine.FirstToken([.. prompt[..shared], .. BesideLlamaCpp.Prompt(random, length - shared, model)]);
            if (i > 0)
                ratios.Add(cold / hit);
        }

        report.Row($"TTFT, {length} tokens, of which {shared} known", "", "without a hit", Text(BenchReport.Median(ratios)));
        report.Figure("prefix_hit_ttft_ratio", BenchReport.Median(ratios));
    }

    /// <summary>What the prefix cache costs where it never hits: the same new prompts with and without it, in turn.</summary>
    public static void PrefixOverhead(BenchModel model, EngineOptions options, BenchReport report, int repetitions)
    {
        const int requests = 4, length = 128, output = 8, rehearsals = 14;
        options = options with { KvCacheBytes = new EngineOptions().KvCacheBytes };
        using var with = new EngineUnderTest(model, options with { EnablePrefixCaching = true });
        using var without = new EngineUnderTest(model, options with { EnablePrefixCaching = false });
        var random = new Random(19);
        var percents = new List<double>();
        // Remembered blocks are used again last, so the rehearsals go once through the whole cache: its pages exist then.
        for (var i = -rehearsals; i < repetitions; i++)
        {
            int[][] prompts = [.. Enumerable.Range(0, requests).Select(_ => BesideLlamaCpp.Prompt(random, length, model))];
            // Whoever comes second finds a warmer machine, so they take turns in that too.
            var first = Seconds(i % 2 == 0 ? with : without, prompts);
            var second = Seconds(i % 2 == 0 ? without : with, prompts);
            if (i >= 0)
                percents.Add(100 * ((i % 2 == 0 ? first / second : second / first) - 1));
        }

        report.Row("prefix cache without hits, percent slower", Text(BenchReport.Median(percents)), $"median of {percents.Count}");
        report.Figure("prefix_overhead_percent", BenchReport.Median(percents));

        static double Seconds(EngineUnderTest engine, int[][] prompts)
        {
            var started = EngineUnderTest.Now;
            engine.Stream(prompts, output);
            return EngineUnderTest.Now - started;
        }
    }

    /// <summary>Four times more context than the cache holds, offered at once.</summary>
    public static void Oversubscribed(BenchModel model, EngineOptions options, BenchReport report)
    {
        const int requests = 48, prompt = 260, output = 60;
        var blockBytes = 2L * 2 * 16 * model.Config.NumHiddenLayers * model.Config.NumKeyValueHeads * model.Config.HeadDim;
        var needed = requests * (prompt + output) / 16 * blockBytes;
        using var engine = new EngineUnderTest(model, options with { EnablePrefixCaching = false, KvCacheBytes = needed / 4, Dtype = "bf16" });
        var random = new Random(17);
        var times = Task.WhenAll(Enumerable.Range(0, requests).Select(i => engine.TimesAsync(BesideLlamaCpp.Prompt(random, prompt + i, model), output)))
            .GetAwaiter().GetResult();
        report.Row(
            "4 x more context than the cache holds", $"{times.Length} of {requests} done", $"{engine.Observer.Preemptions} preemptions",
            $"{Text(engine.Observer.WastePercent)} %");
        report.Figure("kv_waste_percent", engine.Observer.WastePercent);
        report.Figure("kv_oversubscribed_failed", requests - times.Length);
    }

    private static string Text(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);
}
