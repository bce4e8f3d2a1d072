using Platform.Core.Models;
using Platform.Formats.HuggingFace;
using Platform.Text.Tokenization;
using Platform.Text.Training;
using Platform.Torch;
using Platform.Torch.Models.Llama;
using Platform.Worker.Engine.Data;
using TorchSharp;

namespace Platform.Worker.Engine.Tests;

/// <summary>A model that somebody else trained: random weights, none of them 0 or 1, and a tokenizer of bytes.</summary>
internal static class BaseModel
{
    public static ModelConfig Shape { get; } = new()
    {
        Architecture = "llama",
        VocabSize = 264,
        HiddenSize = 32,
        IntermediateSize = 48,
        NumHiddenLayers = 3,
        NumAttentionHeads = 8,
        NumKeyValueHeads = 4,
        HeadDim = 4,
        MaxPositionEmbeddings = 32,
        EosTokenIds = [256],
    };

    public static ModelConfig Family(string architecture) => Shape with
    {
        Architecture = architecture,
        AttentionBias = architecture == "qwen2",
        QkNorm = architecture == "qwen3",
        TieWordEmbeddings = architecture == "qwen3",
        RopeScaling = architecture == "mistral" ? new RopeScaling("yarn", 4, OriginalMaxPositionEmbeddings: 8) : null,
    };

    /// <summary>Writes the model and returns its directory.</summary>
    public static string Write(string directory, ModelConfig config, torch.ScalarType type, long maxShardBytes = 40_000)
    {
        using var scope = torch.NewDisposeScope();
        using var export = HuggingFaceExport.Create(
            directory, HuggingFaceConfig.Of(config, type.ToTensorDataType()), new GenerationConfig { EosTokenIds = config.EosTokenIds, TopP = 0.9 }, maxShardBytes);
        foreach (var parameter in LlamaParameters.All(config))
            export.Write(parameter.Name, TensorMemory.Bytes(Values(parameter).to_type(type)));
        TokenizerDirectory.ForOwn(ByteLevelBpeModel.Bytes(BpeTrainingOptions.DefaultSpecialTokens), DatasetBuilder.ChatTemplate).Save(directory);
        export.Commit();
        return directory;
    }

    /// <summary>The whole model in double precision.</summary>
    public static LlamaModel Load(string directory)
    {
        var config = HuggingFaceConfig.Read(Path.Combine(directory, HuggingFaceConfig.FileName)).Model;
        return LlamaModel.Load(config, directory, torch.ScalarType.Float64, torch.CPU);
    }

    private static torch.Tensor Values(LlamaParameter parameter)
    {
        var values = new double[parameter.ElementCount];
        new NormalStream(77, parameter.Name).Fill(values, 0, 0.1);
        var tensor = TensorMemory.FromSpan<double>(values, [.. parameter.Shape], torch.ScalarType.Float64);
        return parameter.Name.EndsWith("norm.weight", StringComparison.Ordinal) ? tensor + 1 : tensor;
    }
}
