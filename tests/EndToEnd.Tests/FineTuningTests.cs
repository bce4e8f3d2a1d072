using System.Net.Http.Json;
using System.Text.Json;
using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // The test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>A model that a job registered is what the next job begins at.</summary>
public sealed class FineTuningTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 300_000)]
    public async Task A_registered_model_is_adapted_to_conversations_merged_and_deployed()
    {
        using var directory = new TemporaryDirectory();
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        string text = directory.Write("text.txt", SmallJobs.Text(seed: 6));
        await RunAsync(server, directory.Write("base.yaml", SmallJobs.Yaml("base-lm", text, 1, 1, 2, steps: 6, checkpointEvery: 3)));

        directory.Write("chat.jsonl", string.Concat(Enumerable.Range(0, 60).Select(i =>
            $$"""{"messages":[{"role":"user","content":"What does rank {{i}} do?"},{"role":"assistant","content":"It waits for the gang."}]}""" + "\n")));
        await RunAsync(server, directory.Write("tuned.yaml", """
            kind: TrainingJob
            name: tuned-lm
            model: { from: base-lm }
            lora: { rank: 4, target_modules: [ q_proj, v_proj, down_proj ] }
            data: { source: [ chat.jsonl ], format: chat, sequence_length: 32, eval_fraction: 0.1 }
            parallelism: { tensor: 2, pipeline: 2, data: 1, micro_batch_size: 2 }
            training: { steps: 8, global_batch_size: 4, precision: fp32, eval_every: 4 }
            optimizer: { lr: 1e-2 }
            output: { deploy: { engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 } } }
            """));

        var metrics = await server.CliAsync(Cancellation, "jobs", "metrics", await NewestJobAsync(server), "-o", "json");
        var evaluated = JsonDocument.Parse(metrics.Output).RootElement.GetProperty("points").EnumerateArray()
            .Where(point => point.TryGetProperty("evalPerplexity", out _)).ToList();
        Assert.Equal([4, 8], evaluated.Select(point => point.GetProperty("step").GetInt32()));
        Assert.All(evaluated, point => Assert.Equal(
            Math.Exp(point.GetProperty("evalLoss").GetDouble()), point.GetProperty("evalPerplexity").GetDouble(), 1e-6));

        string exported = directory.File("exported");
        var export = await server.CliAsync(Cancellation, "models", "export", "tuned-lm", exported);
        Assert.True(export.ExitCode == 0, export.Output);
        Assert.True(File.Exists(Path.Combine(exported, "adapter", "adapter_model.safetensors")));
        Assert.Contains("\"LORA\"", await File.ReadAllTextAsync(Path.Combine(exported, "adapter", "adapter_config.json"), Cancellation), StringComparison.Ordinal);

        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync(
            $"{server.Http}/v1/chat/completions",
            new { model = "tuned-lm", messages = new[] { new { role = "user", content = "What does rank 3 do?" } }, max_tokens = 8, temperature = 0 }, Cancellation);
        string body = await response.Content.ReadAsStringAsync(Cancellation);
        Assert.True(response.IsSuccessStatusCode, body);

        var refused = await server.CliAsync(Cancellation, "train", directory.Write("refused.yaml", """
            kind: TrainingJob
            name: refused
            model: { from: base-lm }
            data: { source: [ chat.jsonl ], format: chat, sequence_length: 65 }
            parallelism: { tensor: 4 }
            training: { steps: 1, global_batch_size: 1 }
            """));
        Assert.NotEqual(0, refused.ExitCode);
        Assert.Contains("parallelism.tensor", refused.Output, StringComparison.Ordinal);
        Assert.Contains("data.sequence_length", refused.Output, StringComparison.Ordinal);
        var unknown = await server.CliAsync(Cancellation, "train", directory.Write("unknown.yaml",
            (await File.ReadAllTextAsync(directory.File("tuned.yaml"), Cancellation)).Replace("base-lm", "no-such-lm", StringComparison.Ordinal)));
        Assert.NotEqual(0, unknown.ExitCode);
        Assert.Contains("'no-such-lm' is neither a registered model", unknown.Output, StringComparison.Ordinal);
    }

    private static async Task RunAsync(StandaloneServer server, string file)
    {
        var (code, output) = await server.CliAsync(Cancellation, "train", file, "--watch");
        Assert.True(code == 0, output);
    }

    private static async Task<string> NewestJobAsync(StandaloneServer server) =>
        (await server.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default" }, cancellationToken: Cancellation)).Jobs[0].Name;
}
