using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Models;
using Platform.Core.Validation;
using Platform.Formats.Safetensors;
using Platform.Formats.Storage;

namespace Platform.Formats.HuggingFace;

/// <summary>
/// A Hugging Face <c>config.json</c> of a dense Llama-family decoder. Keys that the platform does not know stay as
/// they are when it is written again.
/// </summary>
public sealed class HuggingFaceConfig
{
    /// <summary>The name the file has in a model directory.</summary>
    public const string FileName = "config.json";

    private const long MaxBytes = 16 << 20;

    private readonly JsonObject _json;

    internal HuggingFaceConfig(JsonObject json, ModelConfig model, TensorDataType? dataType)
    {
        _json = json;
        Model = model;
        DataType = dataType;
    }

    /// <summary>The shape of the model.</summary>
    public ModelConfig Model { get; }

    /// <summary>Element type the weights were saved in (<c>torch_dtype</c>, in newer files <c>dtype</c>), if the file says.</summary>
    public TensorDataType? DataType { get; }

    /// <summary>Reads a file.</summary>
    /// <exception cref="ModelFormatException">It is damaged or of a model that is not supported; the message lists everything that is wrong.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static HuggingFaceConfig Read(string path)
    {
        using var document = JsonFile.Read(path, MaxBytes);
        return Parse(document.RootElement) switch
        {
            Validated<HuggingFaceConfig>.Valid valid => valid.Value,
            Validated<HuggingFaceConfig>.Invalid invalid => throw new ModelFormatException(path, "", string.Join(" ", invalid.Violations)),
            _ => throw new InvalidOperationException("A third outcome of a closed hierarchy."),
        };
    }

    /// <summary>Reads a configuration.</summary>
    /// <param name="json">Its JSON object.</param>
    /// <returns>The configuration, or everything that is wrong with it.</returns>
    public static Validated<HuggingFaceConfig> Parse(JsonElement json)
    {
        if (json.ValueKind != JsonValueKind.Object)
        {
            return new Validated<HuggingFaceConfig>.Invalid([new Violation("", $"found {json.ValueKind}; an object is expected.")]);
        }
        var root = new JsonObject();
        var violations = new List<Violation>();
        foreach (var property in json.EnumerateObject())
        {
            if (!root.TryAdd(property.Name, JsonNode.Parse(property.Value.GetRawText())))
            {
                violations.Add(new Violation(property.Name, "the key appears twice."));
            }
        }
        var (model, dataType) = LlamaConfigReader.Read(new ConfigValues(root, violations), violations);
        return violations.Count == 0
            ? new Validated<HuggingFaceConfig>.Valid(new HuggingFaceConfig(root, model, dataType))
            : new Validated<HuggingFaceConfig>.Invalid(violations);
    }

    /// <summary>A configuration for a model of the platform's own.</summary>
    /// <param name="model">Its shape.</param>
    /// <param name="dataType">Element type of its weights.</param>
    public static HuggingFaceConfig Of(ModelConfig model, TensorDataType dataType) => new([], model, dataType);

    /// <summary>The same file for another shape or element type; keys the platform does not know are kept.</summary>
    public HuggingFaceConfig With(ModelConfig model, TensorDataType dataType) => new(_json, model, dataType);

    /// <summary>The configuration as JSON: the file's keys, with those the platform knows set from <see cref="Model"/>.</summary>
    public JsonObject ToJson()
    {
        var json = (JsonObject)_json.DeepClone();
        LlamaConfigWriter.Write(json, Model, DataType);
        return json;
    }

    /// <summary>Writes the file durably.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(string path)
    {
        var json = ToJson();
        JsonFile.Write(path, writer => json.WriteTo(writer));
    }
}
