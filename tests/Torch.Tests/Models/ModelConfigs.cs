using Platform.Core.Models;

namespace Platform.Torch.Tests.Models;

internal static class ModelConfigs
{
    /// <summary>Four query heads on two key/value heads, untied head.</summary>
    public static ModelConfig Tiny { get; } = new()
    {
        Architecture = "llama",
        VocabSize = 37,
        HiddenSize = 32,
        IntermediateSize = 48,
        NumHiddenLayers = 3,
        NumAttentionHeads = 4,
        NumKeyValueHeads = 2,
        HeadDim = 8,
        MaxPositionEmbeddings = 64,
    };

    public static ModelConfig Tied { get; } = Tiny with { TieWordEmbeddings = true, RopeTheta = 500_000 };

    public static ModelConfig Qwen2 { get; } = Tiny with { Architecture = "qwen2", AttentionBias = true, RmsNormEps = 1e-6 };

    /// <summary>Head size apart from hidden size by heads.</summary>
    public static ModelConfig Qwen3 { get; } = Tiny with { Architecture = "qwen3", QkNorm = true, HeadDim = 12, TieWordEmbeddings = true };

    public static ModelConfig Llama3 { get; } = Tiny with
    {
        RopeTheta = 500_000,
        RopeScaling = new RopeScaling("llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 16),
    };

    public static ModelConfig ByName(string name) => name switch
    {
        nameof(Tiny) => Tiny,
        nameof(Tied) => Tied,
        nameof(Qwen2) => Qwen2,
        nameof(Qwen3) => Qwen3,
        nameof(Llama3) => Llama3,
        _ => throw new ArgumentException($"No model {name}."),
    };
}
