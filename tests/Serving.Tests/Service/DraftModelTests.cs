using Platform.Core.Models;
using Platform.V1;
using Platform.Serving.Engine;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

public sealed class DraftModelTests
{
    [Theory]
    [InlineData("itself")]
    [InlineData("a stranger")]
    [InlineData("a relative")]
    public async Task A_draft_model_changes_no_output(string kind)
    {
        using var draft = new Draft(kind);
        var requests = Requests();
        var plain = new List<Output>();
        await using (var replica = await StartAsync())
        {
            foreach (var request in requests)
                plain.Add(await replica.GenerateAsync(request));
        }

        await using var guessing = await StartAsync("--speculative-model", draft.Path, "--speculative-tokens", "5");
        foreach (var together in new[] { false, true })
        {
            var found = new List<Output>();
            if (together)
                found.AddRange(await Task.WhenAll(requests.Select(guessing.GenerateAsync)));
            else
                foreach (var request in requests)
                    found.Add(await guessing.GenerateAsync(request));
            Same(plain, found);
        }
    }

    [Fact]
    public async Task Outputs_stay_the_same_when_blocks_run_out_and_prompts_come_in_pieces()
    {
        // As much memory for the model's own cache in both.
        var requests = Requests();
        string[] small = ["--max-num-seqs", "16", "--max-num-batched-tokens", "16"];
        await using var plain = await StartAsync([.. small, "--kv-cache-bytes", "90KiB"]);
        var expected = await Task.WhenAll(requests.Select(plain.GenerateAsync));
        using var draft = new Draft("itself");
        // Figures are the process's, so a replica whose figures are read has a name of its own.
        await using var guessing = await StartAsync([.. small, "--name", "crowded", "--kv-cache-bytes", "180KiB", "--speculative-model", draft.Path, "--speculative-tokens", "5"]);
        requests.ForEach(request => request.Model = "");
        for (var round = 0; round < 2; round++)
            Same(expected, await Task.WhenAll(requests.Select(guessing.GenerateAsync)));
        var metrics = await guessing.MetricsAsync();
        Assert.True(SpeculationTests.Counted(metrics, "platform_serving_num_preemptions_total", "crowded") > 0);
        Assert.True(SpeculationTests.Counted(metrics, "platform_serving_prefix_cache_hits_total", "crowded") > 0);
    }

    [Fact]
    public async Task The_model_itself_as_its_draft_is_always_right()
    {
        using var draft = new Draft("itself");
        await using var replica = await StartAsync("--name", "twin", "--speculative-model", draft.Path, "--speculative-tokens", "4", "--kv-cache-bytes", "200KiB");
        var before = await CountsAsync(replica);
        foreach (var seed in new[] { 1, 2 })
        {
            // The second round finds its prompts in the cache.
            await Task.WhenAll(Enumerable.Range(0, 6).Select(i => replica.GenerateAsync(Request(
                Prompt(20 + i, i), new SamplingParams { Temperature = i % 2, Seed = seed, MaxTokens = 40, IgnoreEos = true, RepetitionPenalty = i % 3 == 0 ? 1.2 : 1 }).For(""))));
        }

        var (drafts, drafted, accepted) = await CountsAsync(replica);
        Assert.Equal(drafted - before.Drafted, accepted - before.Accepted);
        Assert.InRange(accepted - before.Accepted, 200, 480);
        Assert.InRange(drafts - before.Drafts, 1, (accepted - before.Accepted) / 2);
    }

    [Fact]
    public async Task A_draft_model_with_other_tokens_is_refused()
    {
        using var other = new Draft("itself", TinyModel.Shape with { VocabSize = 288 });
        var refusal = await Assert.ThrowsAsync<ReplicaSettingsException>(() => StartAsync("--speculative-model", other.Path));
        Assert.Contains("engine_config.speculative_config.model", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("its vocab_size is 288, the model's 272", refusal.Message, StringComparison.Ordinal);
        using var renamed = new Draft("itself");
        var tokenizer = Path.Combine(renamed.Path, "tokenizer.json");
        await File.WriteAllTextAsync(tokenizer, (await File.ReadAllTextAsync(tokenizer, Cancel)).Replace("|end|", "|stop|", StringComparison.Ordinal), Cancel);
        await File.WriteAllTextAsync(Path.Combine(renamed.Path, "tokenizer_config.json"), "{}", Cancel);
        refusal = await Assert.ThrowsAsync<ReplicaSettingsException>(() => StartAsync("--speculative-model", renamed.Path));
        Assert.Contains("token 257 is another one in its tokenizer", refusal.Message, StringComparison.Ordinal);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static List<Internal.V1.EngineGenerateRequest> Requests()
    {
        var requests = Enumerable.Range(0, 10).Select(i => Request(Prompt(3 + (i * 5), i / 2), new SamplingParams
        {
            Temperature = i % 3 * 0.6,
            TopP = i % 4 == 1 ? 0.8 : 1,
            Seed = i,
            MaxTokens = 30 + i,
            FrequencyPenalty = i % 5 == 0 ? 0.5 : 0,
            N = i == 7 ? 3 : 1,
            IgnoreEos = i % 2 == 0,
        })).ToList();
        requests[2].Sampling.Logprobs = 2;
        requests.Add(Request(Prompt(4, 4), new SamplingParams { Temperature = 1, Seed = 3, MaxTokens = 60, Regex = "(abcd-){9}" }));
        return requests;
    }

    private static void Same(IReadOnlyList<Output> expected, IReadOnlyList<Output> found)
    {
        Assert.Equal(expected.Count, found.Count);
        for (var i = 0; i < expected.Count; i++)
        {
            Assert.Equal(expected[i].Tokens, found[i].Tokens);
            Assert.Equal(expected[i].Texts, found[i].Texts);
            Assert.Equal(expected[i].Reasons, found[i].Reasons);
            Assert.Equal(expected[i].Logprobs, found[i].Logprobs);
        }
    }

    private static async Task<(double Drafts, double Drafted, double Accepted)> CountsAsync(RunningReplica replica)
    {
        var metrics = await replica.MetricsAsync();
        return (
            SpeculationTests.Counted(metrics, "platform_serving_spec_decode_num_drafts_total", "twin"),
            SpeculationTests.Counted(metrics, "platform_serving_spec_decode_num_draft_tokens_total", "twin"),
            SpeculationTests.Counted(metrics, "platform_serving_spec_decode_num_accepted_tokens_total", "twin"));
    }

    private sealed class Draft : IDisposable
    {
        public Draft(string kind, ModelConfig? config = null)
        {
            var shape = config ?? TinyModel.Shape;
            var model = kind switch
            {
                "itself" => new TinyModel(shape, 4),
                "a stranger" => new TinyModel(shape with { HiddenSize = 32, NumHiddenLayers = 1, NumAttentionHeads = 4 }, 9),
                _ => Shortened(shape),
            };
            model.Write(Path);
        }

        public string Path { get; } = Directory.CreateTempSubdirectory("serving-test-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);

        /// <summary>The served model without its last layer.</summary>
        private static TinyModel Shortened(ModelConfig shape)
        {
            var whole = new TinyModel(shape, 4);
            var part = new TinyModel(shape with { NumHiddenLayers = shape.NumHiddenLayers - 1 }, 4);
            foreach (var (name, values) in part.ByName)
                whole.ByName[name].CopyTo(values, 0);
            return part;
        }
    }
}
