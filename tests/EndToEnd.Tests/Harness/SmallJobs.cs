using System.Globalization;
using System.Text;

namespace Platform.EndToEnd.Tests.Harness;

/// <summary>Text and job files small enough for a test, large enough for a gang.</summary>
internal static class SmallJobs
{
    /// <summary>A few hundred kilobytes of English-like sentences from a seed.</summary>
    public static string Text(int seed, int sentences = 4000)
    {
        string[] subjects = ["The scheduler", "A worker", "The gateway", "This method", "Each rank", "The engine"];
        string[] verbs = ["returns", "places", "starts", "reads", "writes", "waits for"];
        string[] objects = ["the gang", "a checkpoint", "every token", "the next block", "its lease", "an answer"];
        var random = new Random(seed);
        var text = new StringBuilder();
        for (int i = 0; i < sentences; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"{subjects[random.Next(subjects.Length)]} {verbs[random.Next(verbs.Length)]} {objects[random.Next(objects.Length)]}");
            text.Append(random.Next(4) == 0 ? ".\n" : ". ");
        }
        return text.ToString();
    }

    /// <summary>A job file.</summary>
    public static string Yaml(
        string name, string data, int tensor, int pipeline, int dataWidth, int steps, int checkpointEvery, string output = "", string extra = "") => $$"""
        kind: TrainingJob
        name: {{name}}
        model: { architecture: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64 }
        data: { source: [ "{{data}}" ], format: text, tokenizer: { train: bpe, vocab_size: 320 }, sequence_length: 32 }
        parallelism: { tensor: {{tensor}}, pipeline: {{pipeline}}, data: {{dataWidth}}, micro_batch_size: 2 }
        training: { steps: {{steps}}, global_batch_size: 8, precision: fp32, seed: 7 }
        optimizer: { name: adamw, lr: 3e-3, min_lr: 3e-4, warmup_steps: 3 }
        checkpoint: { every_steps: {{checkpointEvery}}, keep: 2 }
        {{output}}
        {{extra}}
        """;
}
