using Platform.Core.Specs;

namespace Platform.Core.Jobs;

/// <summary>How a job's choices are spelled.</summary>
internal static class JobChoices
{
    public static Choices<string> Architectures { get; } = Choices.Of("llama", "mistral", "qwen2", "qwen3");

    public static Choices<string> Formats { get; } = Choices.Of("text", "jsonl", "chat", "tokens");

    public static Choices<PipelineSchedule> Schedules { get; } = new(
        ("gpipe", PipelineSchedule.GPipe),
        ("1f1b", PipelineSchedule.OneForwardOneBackward),
        ("interleaved", PipelineSchedule.Interleaved));

    public static Choices<Precision> Precisions { get; } = new(
        ("bf16", Precision.BFloat16), ("fp32", Precision.Float32), ("fp64", Precision.Float64));

    public static Choices<string> ActivationCheckpointing { get; } = Choices.Of("none", "selective", "full");

    public static Choices<string> Optimizers { get; } = Choices.Of("adamw", "muon");

    public static Choices<LearningRateSchedule> LearningRates { get; } = new(
        ("cosine", LearningRateSchedule.Cosine),
        ("linear", LearningRateSchedule.Linear),
        ("wsd", LearningRateSchedule.WarmupStableDecay),
        ("constant", LearningRateSchedule.Constant));

    public static Choices<string> Devices { get; } = Choices.Of("cpu", "cuda");

    public static Choices<string> TopologyLevels { get; } = Choices.Of("node", "block", "rack", "zone");

    public static Choices<string> Clusters { get; } = Choices.Of("shared", "ephemeral");

    public static Choices<string> Spot { get; } = Choices.Of("forbidden", "allowed");
}
