using Platform.Core.Models;
using Platform.Formats;
using Platform.Formats.HuggingFace;
using Platform.Formats.Peft;

namespace Platform.Scheduler.Adapters;

/// <summary>What the control plane needs to know of a model's files.</summary>
/// <param name="Architecture">Family of the model, or <see cref="ModelDirectories.AdapterArchitecture"/>.</param>
/// <param name="ContextLength">Longest context; 0 of an adapter.</param>
/// <param name="Parameters">Number of weights in the files.</param>
/// <param name="SizeBytes">Bytes of all files.</param>
internal sealed record ModelFacts(string Architecture, int ContextLength, long Parameters, long SizeBytes);

/// <summary>Looks into the directories of models and adapters.</summary>
internal static class ModelDirectories
{
    /// <summary>Architecture of a registered adapter.</summary>
    public const string AdapterArchitecture = "lora";

    /// <summary>Facts of a directory whose configuration and weights fit together.</summary>
    /// <exception cref="ModelFormatException">They do not, or something is missing or damaged.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static ModelFacts Inspect(string directory)
    {
        if (!File.Exists(Path.Combine(directory, HuggingFaceConfig.FileName)) && LoraAdapterDirectory.Find(directory) == directory)
        {
            using var adapter = LoraAdapterDirectory.Open(directory);
            return new ModelFacts(AdapterArchitecture, 0, adapter.ParameterCount, BytesOf(directory));
        }

        using var model = HuggingFaceModelDirectory.Open(directory);
        var violations = model.Validate();
        if (violations.Count > 0)
        {
            throw new ModelFormatException(directory, "", $"The files do not fit together: {string.Join(" ", violations.Take(5))}");
        }

        long parameters = model.TensorNames.Sum(name => model.Entry(name).Shape.Aggregate(1L, (product, dim) => product * dim));
        return new ModelFacts(model.Config.Model.Architecture, model.Config.Model.MaxPositionEmbeddings, parameters, BytesOf(directory));
    }

    private static long BytesOf(string directory) => new DirectoryInfo(directory).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length);

    /// <summary>Shape of a model, or null when the directory is none that can be read here.</summary>
    public static ModelConfig? ConfigOf(string directory)
    {
        try
        {
            using var model = HuggingFaceModelDirectory.Open(directory);
            return model.Config.Model;
        }
        catch (Exception exception) when (exception is ModelFormatException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
