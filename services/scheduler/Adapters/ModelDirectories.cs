using Platform.Core.Models;
using Platform.Formats;
using Platform.Formats.HuggingFace;

namespace Platform.Scheduler.Adapters;

/// <summary>What the control plane needs to know of a model's files.</summary>
/// <param name="Config">Shape.</param>
/// <param name="Parameters">Number of weights in the files.</param>
/// <param name="SizeBytes">Bytes of all files.</param>
internal sealed record ModelFacts(ModelConfig Config, long Parameters, long SizeBytes);

/// <summary>Looks into Hugging Face directories.</summary>
internal static class ModelDirectories
{
    /// <summary>Facts of a directory whose configuration and weights fit together.</summary>
    /// <exception cref="ModelFormatException">They do not, or something is missing or damaged.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static ModelFacts Inspect(string directory)
    {
        using var model = HuggingFaceModelDirectory.Open(directory);
        var violations = model.Validate();
        if (violations.Count > 0)
        {
            throw new ModelFormatException(directory, "", $"The files do not fit together: {string.Join(" ", violations.Take(5))}");
        }

        long parameters = model.TensorNames.Sum(name => model.Entry(name).Shape.Aggregate(1L, (product, dim) => product * dim));
        long bytes = new DirectoryInfo(directory).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length);
        return new ModelFacts(model.Config.Model, parameters, bytes);
    }

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
