using System.Globalization;
using Platform.Core.Deployments;

namespace Platform.Benchmarks.Serving;

/// <summary>Decoding and prompt processing, ours and llama.cpp's in turn.</summary>
internal static class BesideLlamaCpp
{
    private const int Streams = 16, PromptTokens = 16, PrefillTokens = 512;

    public static void Run(BenchModel model, EngineOptions options, BenchReport report, int repetitions, bool quick)
    {
        using var ours = new EngineUnderTest(model, options with { EnablePrefixCaching = false });
        using var theirs = LlamaCpp.TryStart(model.GgufPath, LlamaCpp.DefaultModules, Environment.ProcessorCount, "default", contextSize: 4096, out var absence);
        Console.WriteLine($"kernels: {ours.Kernel}; llama.cpp: {(theirs is null ? absence : "bf16 weights, its default cache")}");
        var random = new Random(3);
        var tokens = quick ? 32 : 128;
        Compare("decode_1_stream", "decode, 1 stream, tokens/s", (1, tokens));
        Compare("decode_16_streams", "decode, 16 streams, tokens/s", (Streams, tokens / 2));
        if (report.Wants("prefill"))
        {
            Measure(
                "prefill", $"prefill of {PrefillTokens} tokens, tokens/s",
                () => PrefillTokens / ours.FirstToken(Prompt(random, PrefillTokens, model)),
                theirs is null ? null : () => PrefillTokens / theirs.Prefill(Prompt(random, PrefillTokens, model)));
        }

        void Compare(string name, string what, (int Streams, int Tokens) load)
        {
            if (!report.Wants(name))
                return;
            int[][] Prompts() => [.. Enumerable.Range(0, load.Streams).Select(_ => Prompt(random, PromptTokens, model))];
            Measure(
                name, what, () => Rate(ours.Stream(Prompts(), load.Tokens)),
                theirs is null ? null : () => Rate(theirs.Stream(Prompts(), load.Tokens)));
        }

        void Measure(string name, string what, Func<double> here, Func<double>? there)
        {
            var (mine, other) = (new List<double>(), new List<double>());
            here();
            there?.Invoke();
            for (var i = 0; i < repetitions; i++)
            {
                mine.Add(here());
                if (there is not null)
                    other.Add(there());
            }

            var median = BenchReport.Median(mine);
            report.Figure($"{name}_tokens_per_second", median);
            if (other.Count == 0)
            {
                report.Row(what, Text(median), $"llama.cpp: {absence}");
                return;
            }

            var ratio = median / BenchReport.Median(other);
            report.Row(what, Text(median), $"llama.cpp {Text(BenchReport.Median(other))}", Text(ratio));
            report.Figure($"{name}_ratio", ratio);
        }
    }

    /// <summary>A prompt that no other run has had.</summary>
    public static int[] Prompt(Random random, int length, BenchModel model) =>
        [.. Enumerable.Range(0, length).Select(_ => random.Next(300, model.Config.VocabSize))];

    /// <summary>Tokens per second while all streams are producing.</summary>
    private static double Rate(double[][] times)
    {
        var (start, end) = (times.Max(stream => stream[0]), times.Min(stream => stream[^1]));
        return times.Sum(stream => stream.Count(time => time > start && time <= end)) / (end - start);
    }

    private static string Text(double value) => value.ToString(value < 10 ? "0.00" : "0", CultureInfo.InvariantCulture);
}
