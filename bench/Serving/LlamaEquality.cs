using System.Globalization;
using Platform.Core.Deployments;

namespace Platform.Benchmarks.Serving;

/// <summary>
/// Whether the engine and llama.cpp, both in fp32 on the same fp32 tensors, choose the same tokens. Where they differ, an fp64
/// forward pass says whether the first two tokens are too near each other for fp32 to tell; then both go on from the exact
/// choice. At the end every token of ours is compared with the exact choice as well.
/// </summary>
internal static class LlamaEquality
{
    private const int Prompts = 5, Tokens = 200, FewestPromptTokens = 8;

    // Closer logits than these are a tie in fp32.
    private const double Tie = 1e-3;

    public static void Run(string directory, BenchReport report, bool quick)
    {
        var model = BenchModel.Write(BenchModel.Shape(quick), directory, single: true);
        using var theirs = LlamaCpp.TryStart(model.GgufPath, LlamaCpp.DefaultModules, Environment.ProcessorCount, "fp32", contextSize: 512, out var absence);
        if (theirs is null)
        {
            report.Row("greedy tokens in fp32", "", $"llama.cpp: {absence}");
            return;
        }

        using var ours = new EngineUnderTest(model, new EngineOptions { Dtype = "fp32", EnablePrefixCaching = false });
        using var exact = new ExactForward(model);
        var random = new Random(5);
        var (equal, wrong, smallest, error) = (0, 0, double.PositiveInfinity, 0.0);
        var outcome = new Outcome();
        for (var i = 0; i < Prompts; i++)
        {
            var prompt = BesideLlamaCpp.Prompt(random, FewestPromptTokens << i, model);
            var tokens = Compare(prompt, ours, theirs, exact, outcome);
            if (tokens is null)
                continue;
            equal++;
            var logits = exact.Logits(tokens, prompt.Length - 1);
            var found = ours.LogitsAsync([.. tokens]).GetAwaiter().GetResult();
            error = Math.Max(error, found.Zip(logits[^1], (a, b) => Math.Abs(a - b)).Max());
            for (var t = prompt.Length; t < tokens.Count; t++)
            {
                var (best, lead) = ExactForward.Top(logits[t - prompt.Length]);
                smallest = Math.Min(smallest, lead);
                wrong += best != tokens[t] && lead > Tie ? 1 : 0;
            }
        }

        report.Row(
            $"greedy in fp32, {Tokens} tokens of {Prompts} prompts", $"{equal} prompts equal", $"llama.cpp, {outcome.Ties} ties of < {Tie:0.###}");
        report.Row("the same beside an fp64 forward pass", $"{wrong} tokens differ", string.Create(CultureInfo.InvariantCulture, $"smallest lead {smallest:0.00000}"));
        report.Row("largest error of a logit", error.ToString("0.0e0", CultureInfo.InvariantCulture), "fp64");
        report.Figure("greedy_equal_prompts", equal);
        report.Figure("greedy_ties", outcome.Ties);
        report.Figure("greedy_tokens_unlike_fp64", wrong);
        report.Figure("fp32_logit_error_e6", error * 1e6);
    }

    /// <summary>The tokens that both choose after a prompt, ties settled by the exact pass; null when they differ otherwise.</summary>
    private static List<int>? Compare(int[] prompt, EngineUnderTest ours, LlamaCpp theirs, ExactForward exact, Outcome outcome)
    {
        var tokens = prompt.ToList();
        while (tokens.Count < prompt.Length + Tokens)
        {
            var left = prompt.Length + Tokens - tokens.Count;
            int[] mine = [.. ours.TokensAsync([.. tokens], left).GetAwaiter().GetResult()], other = theirs.Greedy([[.. tokens]], left)[0];
            var same = mine.AsSpan().CommonPrefixLength(other);
            tokens.AddRange(mine[..same]);
            if (same == left)
                break;
            var (best, lead) = ExactForward.Top(exact.Logits(tokens, tokens.Count - 1)[0]);
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"token {tokens.Count - prompt.Length} after {prompt.Length}: {mine[same]} here, {other[same]} in llama.cpp, {best} in fp64 with a lead of {lead:0.0e0}"));
            if (lead > Tie)
                return null;
            outcome.Ties++;
            tokens.Add(best);
        }

        return tokens;
    }

    private sealed class Outcome
    {
        public int Ties { get; set; }
    }
}
