using System.Globalization;
using System.Text.Json.Nodes;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Core.Validation;
using Platform.Worker.Engine.Planning;

namespace Platform.Benchmarks.Training;

/// <summary>The model and batch of a measurement, as a job file has them.</summary>
/// <param name="Layers">Decoder layers.</param>
/// <param name="Hidden">Width.</param>
/// <param name="Inner">Width of the gated MLP.</param>
/// <param name="Heads">Attention heads, each with keys and values of its own.</param>
/// <param name="Vocabulary">Tokens; embedding and head are two weights.</param>
/// <param name="SequenceLength">Tokens per sequence.</param>
/// <param name="GlobalBatch">Sequences per step.</param>
internal sealed record TrainedModel(int Layers, int Hidden, int Inner, int Heads, int Vocabulary, int SequenceLength, int GlobalBatch)
{
    /// <summary>97.5 million weights, 2,048 tokens per step.</summary>
    public static TrainedModel Measured { get; } = new(12, 768, 2048, 12, 8192, 512, 4);

    /// <summary>Small enough for a test; its figures say nothing about the engine's speed.</summary>
    public static TrainedModel Quick { get; } = new(2, 128, 256, 4, 512, 128, 4);

    /// <summary>Shapes for one GPU, sequences of 4,096 tokens: about 1, 3 and 7 billion weights.</summary>
    public static IReadOnlyDictionary<string, TrainedModel> Large { get; } = new Dictionary<string, TrainedModel>(StringComparer.Ordinal)
    {
        ["1b"] = new(22, 2048, 5632, 16, 32_000, 4096, 8),
        ["3b"] = new(32, 2560, 6912, 20, 32_000, 4096, 4),
        ["7b"] = new(32, 4096, 11_008, 32, 32_000, 4096, 2),
    };

    /// <summary>Tokens of a step.</summary>
    public long TokensPerStep => (long)GlobalBatch * SequenceLength;

    /// <summary>
    /// Operations of training per token: two per weight of a matrix product in the forward pass and four in the backward pass
    /// (the embedding is looked up, not multiplied), and attention's two products over the half of the positions that the causal
    /// mask leaves, again once forward and twice backward. What is recomputed does not count.
    /// </summary>
    public double OperationsPerToken(TrainingPlan plan) =>
        (6.0 * (plan.Model.ParameterCount - ((double)Vocabulary * Hidden))) + (6.0 * Layers * SequenceLength * Hidden);

    /// <summary>The plan of a job with this model.</summary>
    public TrainingPlan Plan(DeviceMesh mesh, int microBatch, Precision precision, string recompute = "none")
    {
        var job = new JsonObject
        {
            ["kind"] = "TrainingJob",
            ["name"] = "benchmark",
            ["model"] = new JsonObject
            {
                ["architecture"] = "llama",
                ["hidden_size"] = Hidden,
                ["intermediate_size"] = Inner,
                ["num_hidden_layers"] = Layers,
                ["num_attention_heads"] = Heads,
                ["num_key_value_heads"] = Heads,
                ["max_position_embeddings"] = SequenceLength,
            },
            ["data"] = new JsonObject { ["source"] = new JsonArray("generated"), ["tokenizer"] = "byte", ["sequence_length"] = SequenceLength },
            ["parallelism"] = new JsonObject
            {
                ["tensor"] = mesh.Tensor,
                ["pipeline"] = mesh.Pipeline,
                ["data"] = mesh.Data,
                ["micro_batch_size"] = microBatch,
                ["schedule"] = "1f1b",
            },
            ["training"] = new JsonObject
            {
                ["steps"] = 1_000_000,
                ["global_batch_size"] = GlobalBatch,
                ["precision"] = precision == Precision.BFloat16 ? "bf16" : "fp32",
                ["activation_checkpointing"] = recompute,
            },
            ["optimizer"] = new JsonObject { ["lr"] = 1e-4, ["warmup_steps"] = 10 },
        };
        var spec = Valid(JobSpecReader.Read(job));
        return Valid(TrainingPlan.Resolve(spec, Vocabulary, null));
    }

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{Layers} layers, {Hidden} wide, {Heads} heads, {Vocabulary} tokens, batch {GlobalBatch} x {SequenceLength}");

    private static T Valid<T>(Validated<T> result) => result switch
    {
        Validated<T>.Valid valid => valid.Value,
        Validated<T>.Invalid invalid => throw new InvalidOperationException(string.Join(" ", invalid.Violations)),
        _ => throw new InvalidOperationException("A specification is valid or not."),
    };
}
