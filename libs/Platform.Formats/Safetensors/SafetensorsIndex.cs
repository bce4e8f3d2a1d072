using System.Text.Json;
using Platform.Formats.Storage;

namespace Platform.Formats.Safetensors;

/// <summary>
/// A <c>model.safetensors.index.json</c>: which file of a sharded model holds each tensor
/// (Hugging Face transformers, "Sharded checkpoints").
/// </summary>
/// <param name="TotalSizeBytes">Bytes of all tensors together (<c>metadata.total_size</c>); absent when the file does not say.</param>
/// <param name="WeightMap">File name, within the index's directory, of each tensor.</param>
public sealed record SafetensorsIndex(long? TotalSizeBytes, IReadOnlyDictionary<string, string> WeightMap)
{
    /// <summary>The name an index has in a model directory.</summary>
    public const string FileName = "model.safetensors.index.json";

    private const long MaxBytes = 100_000_000;

    /// <summary>Reads an index and checks that its files are plain names inside its own directory.</summary>
    /// <exception cref="ModelFormatException">It is not a valid index, or names a file outside its directory.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static SafetensorsIndex Read(string path)
    {
        using var document = JsonFile.Read(path, MaxBytes);
        var root = document.RootElement;
        if (!root.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object)
        {
            throw new ModelFormatException(path, "weight_map", "an object that maps tensor names to file names is required");
        }
        var weights = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var entry in map.EnumerateObject())
        {
            if (entry.Value.ValueKind != JsonValueKind.String)
            {
                throw new ModelFormatException(path, $"weight_map.{entry.Name}", $"found {entry.Value.ValueKind}; a file name is expected");
            }
            var file = entry.Value.GetString() ?? "";
            DirectoryContainment.RequirePlainName(path, $"weight_map.{entry.Name}", file);
            if (!weights.TryAdd(entry.Name, file))
            {
                throw new ModelFormatException(path, $"weight_map.{entry.Name}", "the tensor appears twice");
            }
        }
        return new SafetensorsIndex(TotalSize(path, root), weights);
    }

    /// <summary>Writes the index durably.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(string path) => JsonFile.Write(path, json =>
    {
        json.WriteStartObject();
        json.WriteStartObject("metadata");
        if (TotalSizeBytes is { } total)
        {
            json.WriteNumber("total_size", total);
        }
        json.WriteEndObject();
        json.WriteStartObject("weight_map");
        foreach (var (tensor, file) in WeightMap.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            json.WriteString(tensor, file);
        }
        json.WriteEndObject();
        json.WriteEndObject();
    });

    private static long? TotalSize(string path, JsonElement root)
    {
        if (!root.TryGetProperty("metadata", out var metadata) || metadata.ValueKind != JsonValueKind.Object
            || !metadata.TryGetProperty("total_size", out var total))
        {
            return null;
        }
        // Some exporters write the figure as 1.5e10 or 15000000000.0.
        return total.ValueKind == JsonValueKind.Number && total.TryGetDouble(out var bytes) && bytes >= 0 && bytes < 9e18
            ? total.TryGetInt64(out var exact) ? exact : (long)bytes
            : throw new ModelFormatException(path, "metadata.total_size", $"found {total.GetRawText()}; a number of bytes is expected");
    }
}
