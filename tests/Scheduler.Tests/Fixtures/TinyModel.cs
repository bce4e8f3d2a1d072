using Platform.Core.Models;
using Platform.Formats.HuggingFace;
using Platform.Formats.Safetensors;

namespace Platform.Scheduler.Tests.Fixtures;

/// <summary>A Hugging Face directory with a model of a few hundred weights, all zero.</summary>
internal static class TinyModel
{
    public static ModelConfig Config { get; } = new()
    {
        Architecture = "llama",
        VocabSize = 16,
        HiddenSize = 8,
        IntermediateSize = 16,
        NumHiddenLayers = 1,
        NumAttentionHeads = 2,
        NumKeyValueHeads = 2,
        HeadDim = 4,
        MaxPositionEmbeddings = 32,
    };

    public static void Write(string directory)
    {
        var config = HuggingFaceConfig.Of(Config, TensorDataType.F32);
        using var export = HuggingFaceExport.Create(directory, config, new GenerationConfig());
        foreach (var tensor in ModelTensors.Of(Config))
        {
            export.Write(tensor.Name, new byte[tensor.Shape.Aggregate(4L, (product, dim) => product * dim)]);
        }

        export.Commit();
        File.WriteAllText(Path.Combine(directory, "tokenizer.json"), "{}");
    }
}
