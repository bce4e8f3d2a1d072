using Platform.V1;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

public sealed class SpeculationTests
{
    [Fact]
    public async Task Guessing_ahead_changes_no_output_and_guesses_right_where_text_repeats()
    {
        var requests = new List<Internal.V1.EngineGenerateRequest>();
        for (var i = 0; i < 10; i++)
        {
            var phrase = Prompt(5, i);
            requests.Add(Request([.. phrase, .. phrase, .. phrase], new SamplingParams
            {
                Temperature = i % 2 == 0 ? 0 : 0.3,
                Seed = i,
                MaxTokens = 60,
                RepetitionPenalty = i % 3 == 0 ? 1.1 : 1,
                FrequencyPenalty = i % 5 == 0 ? 0.5 : 0,
            }));
        }

        // Allowed to follow one text only, the model repeats it whatever its weights are.
        requests.Add(Request(Prompt(4, 4), new SamplingParams { Temperature = 1, Seed = 3, MaxTokens = 80, Regex = "(abcd-){12}" }));
        var plain = new List<Output>();
        await using (var replica = await StartAsync("--prefix-caching", "false"))
        {
            foreach (var request in requests)
                plain.Add(await replica.GenerateAsync(request));
        }

        await using var guessing = await StartAsync("--prefix-caching", "false", "--speculative-tokens", "6");
        foreach (var together in new[] { false, true })
        {
            var found = new List<Output>();
            if (together)
                found.AddRange(await Task.WhenAll(requests.Select(guessing.GenerateAsync)));
            else
                foreach (var request in requests)
                    found.Add(await guessing.GenerateAsync(request));
            for (var i = 0; i < requests.Count; i++)
            {
                Assert.Equal(plain[i].Only, found[i].Only);
                Assert.Equal((plain[i].Text, plain[i].Reason), (found[i].Text, found[i].Reason));
            }
        }

        var metrics = await guessing.MetricsAsync();
        var drafted = Counted(metrics, "platform_serving_spec_decode_num_draft_tokens_total");
        var accepted = Counted(metrics, "platform_serving_spec_decode_num_accepted_tokens_total");
        Assert.InRange(accepted, 40, drafted);
    }

    [Fact]
    public async Task Guesses_never_cost_another_sequence_its_memory()
    {
        var requests = Enumerable.Range(0, 12).Select(i => Request(
            [.. Prompt(6, i), .. Prompt(6, i)], new SamplingParams { Temperature = 0, MaxTokens = 40, IgnoreEos = true })).ToList();
        string[] small = ["--kv-cache-bytes", "120KiB", "--max-num-seqs", "16", "--prefix-caching", "false"];
        await using var plain = await StartAsync(small);
        await using var guessing = await StartAsync([.. small, "--speculative-tokens", "8"]);
        var expected = await Task.WhenAll(requests.Select(plain.GenerateAsync));
        var found = await Task.WhenAll(requests.Select(guessing.GenerateAsync));
        for (var i = 0; i < requests.Count; i++)
            Assert.Equal(expected[i].Only, found[i].Only);
    }

    internal static double Counted(string metrics, string name, string model = "tiny") => metrics.Split('\n')
        .Where(line => line.StartsWith($"{name}{{model_name=\"{model}\"", StringComparison.Ordinal))
        .Sum(line => double.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture));
}
