using Platform.Core.Jobs;
using Platform.Core.Models;

namespace Platform.Scheduling.Planning;

/// <summary>Shapes of models that jobs describe.</summary>
public static class ModelShapes
{
    private const int BytesVocabulary = 257;
    private const int AssumedVocabulary = 32_000;

    /// <summary>The shape a job trains from scratch; null when it continues from a model.</summary>
    /// <param name="job">The job.</param>
    /// <param name="notes">Takes what had to be assumed.</param>
    public static ModelConfig? Of(TrainingJobSpec job, ICollection<string> notes)
    {
        ArgumentNullException.ThrowIfNull(job);
        ArgumentNullException.ThrowIfNull(notes);
        var shape = job.Model;
        if (shape.From is not null || shape.NumAttentionHeads == 0)
        {
            return null;
        }

        int vocabulary = job.Data.Tokenizer switch
        {
            TokenizerSpec.TrainBpe bpe => bpe.VocabSize,
            TokenizerSpec.Bytes => BytesVocabulary,
            _ => AssumedVocabulary,
        };
        if (job.Data.Tokenizer is TokenizerSpec.Directory && shape.VocabSize is null)
        {
            notes.Add($"The tokenizer's vocabulary is taken to be {vocabulary} tokens.");
        }

        return new ModelConfig
        {
            Architecture = shape.Architecture,
            VocabSize = shape.VocabSize ?? vocabulary,
            HiddenSize = shape.HiddenSize,
            IntermediateSize = shape.IntermediateSize,
            NumHiddenLayers = shape.NumHiddenLayers,
            NumAttentionHeads = shape.NumAttentionHeads,
            NumKeyValueHeads = shape.NumKeyValueHeads,
            HeadDim = shape.HeadDim ?? (shape.HiddenSize / shape.NumAttentionHeads),
            MaxPositionEmbeddings = shape.MaxPositionEmbeddings,
            TieWordEmbeddings = shape.TieWordEmbeddings,
            AttentionBias = shape.Architecture == "qwen2",
            QkNorm = shape.Architecture == "qwen3",
        };
    }
}
