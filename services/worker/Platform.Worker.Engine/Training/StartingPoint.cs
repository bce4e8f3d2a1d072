using Platform.Core.Jobs;
using Platform.Formats;
using Platform.Formats.HuggingFace;
using Platform.Text.Tokenization;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel.Parameters;
using Platform.Worker.Engine.Data;

namespace Platform.Worker.Engine.Training;

/// <summary>The Hugging Face directory that a job continues from.</summary>
/// <param name="Directory">The directory.</param>
/// <param name="Config">Its <c>config.json</c>.</param>
/// <param name="Generation">Its defaults for generation.</param>
public sealed record StartingPoint(string Directory, HuggingFaceConfig Config, GenerationConfig Generation)
{
    /// <summary>Opens what a job continues from.</summary>
    /// <param name="spec">The job; a registered model has been replaced by its directory.</param>
    /// <param name="artifactRoot">Where relative directories begin.</param>
    /// <returns>Null when the job trains from scratch.</returns>
    /// <exception cref="InputUnreadableException">The directory is no model that can be continued from.</exception>
    public static StartingPoint? Open(TrainingJobSpec spec, string artifactRoot)
    {
        ArgumentNullException.ThrowIfNull(spec);
        if (spec.Model.From is not { } from)
            return null;
        var directory = Path.Combine(artifactRoot, from);
        return Guard(directory, () =>
        {
            using var model = HuggingFaceModelDirectory.Open(directory);
            return new StartingPoint(directory, model.Config, model.Generation);
        });
    }

    /// <summary>Sets the weights of a rank's tensors to its slices of the model's.</summary>
    /// <param name="parameters">The rank's tensors.</param>
    /// <param name="seed">Seed of adapters.</param>
    /// <exception cref="InputUnreadableException">A weight is missing or of another shape than the model's configuration says.</exception>
    public void Load(ParameterStore parameters, long seed)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        Guard(Directory, () =>
        {
            using var files = LlamaWeightFiles.Open(Directory);
            parameters.Load(files, seed);
            return true;
        });
    }

    /// <summary>What to read, with the model's tokenizer by name where the job gives none.</summary>
    public DataSpec WithTokenizer(DataSpec data)
    {
        ArgumentNullException.ThrowIfNull(data);
        return data.Tokenizer is TokenizerSpec.OfModel ? data with { Tokenizer = new TokenizerSpec.Directory(Directory) } : data;
    }

    /// <summary>Refuses a tokenizer with another vocabulary than the model's own.</summary>
    /// <exception cref="InputUnreadableException">They differ.</exception>
    public void CheckTokenizer(TokenizerDirectory tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        if (!TokenizerDirectory.Exists(Directory))
            return;
        var own = Guard(Directory, () => TokenizerDirectory.Open(Directory)).Tokenizer.VocabularySize;
        if (own != tokenizer.Tokenizer.VocabularySize)
            throw new InputUnreadableException(
                $"data.tokenizer: it has {tokenizer.Tokenizer.VocabularySize} tokens, and that of the model in {Directory} {own}; remove the key to use the model's.");
    }

    private static T Guard<T>(string directory, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception refused) when (refused is ModelFormatException or IOException or UnauthorizedAccessException or FormatException)
        {
            throw new InputUnreadableException($"model.from: {directory} cannot be continued from: {refused.Message}", refused);
        }
    }
}
