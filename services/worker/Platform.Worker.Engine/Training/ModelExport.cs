using Platform.Core;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Formats.Checkpoints;
using Platform.Formats.HuggingFace;
using Platform.Torch;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel.Checkpoints;
using Platform.Worker.Engine.Checkpoints;
using Platform.Worker.Engine.Data;
using Platform.Worker.Engine.Planning;

namespace Platform.Worker.Engine.Training;

/// <summary>Makes the finished model's Hugging Face directory of the last checkpoint.</summary>
/// <param name="launch">Where things lie.</param>
/// <param name="plan">What was trained.</param>
/// <param name="start">What it continued from; null when it began from scratch.</param>
/// <param name="dataset">The data, whose tokenizer the model gets.</param>
internal sealed class ModelExport(RankLaunch launch, TrainingPlan plan, StartingPoint? start, Dataset dataset)
{
    /// <summary>Folder of the adapter in the directory of a model that was merged with it.</summary>
    public const string AdapterFolder = "adapter";

    private static readonly string[] TokenizerFiles =
    [
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt", "tokenizer.model",
    ];

    /// <summary>Writes the model; after training adapters, the model merged with them, and beside it the adapter alone.</summary>
    /// <param name="checkpoint">The checkpoint, relative to the artifact root.</param>
    /// <returns>The directory, relative to the artifact root.</returns>
    public string Write(string checkpoint)
    {
        var directory = ArtifactLayout.FinalModel(launch.Gang, launch.Attempt);
        var path = Path.Combine(launch.ArtifactRoot, directory);
        Directory.CreateDirectory(path);
        WriteTokenizer(path);
        using var reader = Open(checkpoint);
        if (start is not null && plan.Adapters is { } adapters)
        {
            AdapterExport.WriteAdapter(reader, adapters, plan.Model, start.Directory, Path.Combine(path, AdapterFolder));
            using var files = LlamaWeightFiles.Open(start.Directory);
            var type = files.TypeOf(LlamaParameters.EmbeddingName);
            AdapterExport.WriteMerged(reader, files, adapters, start.Config.With(plan.Model, type), Generation(), path);
            return directory;
        }

        var exported = (plan.Spec.Training.Precision == Precision.BFloat16 ? Precision.BFloat16 : Precision.Float32).ToScalarType().ToTensorDataType();
        var config = start is null ? HuggingFaceConfig.Of(plan.Model, exported) : start.Config.With(plan.Model, exported);
        CheckpointExport.Write(reader, config, Generation(), path);
        return directory;
    }

    private CheckpointReader Open(string checkpoint)
    {
        try
        {
            return CheckpointReader.Open(Path.Combine(launch.ArtifactRoot, checkpoint), CheckpointVerification.Structure);
        }
        catch (Formats.ModelFormatException damage)
        {
            throw new CheckpointUnreadableException(checkpoint, damage);
        }
    }

    private void WriteTokenizer(string path)
    {
        if (plan.Spec.Data.Tokenizer is TokenizerSpec.OfModel or TokenizerSpec.Directory)
        {
            var source = plan.Spec.Data.Tokenizer is TokenizerSpec.Directory given ? given.Path : start?.Directory ?? "";
            foreach (var file in TokenizerFiles.Select(name => Path.Combine(source, name)).Where(File.Exists))
                File.Copy(file, Path.Combine(path, Path.GetFileName(file)), overwrite: true);
            return;
        }

        var tokenizer = dataset.Tokenizer with
        {
            Config = dataset.Tokenizer.Config with { ModelMaxLength = plan.Model.MaxPositionEmbeddings },
        };
        tokenizer.Save(path);
    }

    /// <summary>The base model's defaults; a model that learnt conversations also stops where the assistant did.</summary>
    private GenerationConfig Generation()
    {
        var ends = (IReadOnlyList<int>)[.. plan.Model.EosTokenIds.Concat(start?.Generation.EosTokenIds ?? []).Concat(dataset.Description.EndOfTurnIds).Distinct()];
        return (start?.Generation ?? new GenerationConfig()) with
        {
            BosTokenId = start?.Generation.BosTokenId ?? plan.Model.BosTokenId,
            EosTokenIds = ends,
            PadTokenId = start?.Generation.PadTokenId ?? (ends.Count > 0 ? ends[0] : null),
        };
    }
}
