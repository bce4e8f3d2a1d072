using System.Text.Json.Nodes;
using Platform.Core.Validation;
using Platform.Formats.Storage;

namespace Platform.Formats.HuggingFace;

/// <summary>What the platform uses of a Hugging Face <c>generation_config.json</c>; null where the file does not say.</summary>
public sealed record GenerationConfig
{
    /// <summary>The name the file has in a model directory.</summary>
    public const string FileName = "generation_config.json";

    private const long MaxBytes = 16 << 20;

    /// <summary>Token that begins a text.</summary>
    public int? BosTokenId { get; init; }

    /// <summary>Tokens that end a text.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>Token that fills up batches.</summary>
    public int? PadTokenId { get; init; }

    /// <summary>Whether to draw tokens at random by default.</summary>
    public bool? DoSample { get; init; }

    /// <summary>Default temperature.</summary>
    public double? Temperature { get; init; }

    /// <summary>Default nucleus.</summary>
    public double? TopP { get; init; }

    /// <summary>Default number of candidates.</summary>
    public double? TopK { get; init; }

    /// <summary>Default penalty of repeated tokens.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>Reads a file.</summary>
    /// <exception cref="ModelFormatException">It is damaged; the message lists everything that is wrong.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static GenerationConfig Read(string path)
    {
        using var document = JsonFile.Read(path, MaxBytes);
        var root = new JsonObject();
        foreach (var property in document.RootElement.EnumerateObject())
        {
            root[property.Name] = JsonNode.Parse(property.Value.GetRawText());
        }
        var violations = new List<Violation>();
        var values = new ConfigValues(root, violations);
        var config = new GenerationConfig
        {
            BosTokenId = values.TokenIds("bos_token_id") is [var bos] ? bos : null,
            EosTokenIds = values.TokenIds("eos_token_id"),
            PadTokenId = values.TokenIds("pad_token_id") is [var pad] ? pad : null,
            DoSample = values.Has("do_sample") ? values.Flag("do_sample", false) : null,
            Temperature = values.OptionalNumber("temperature"),
            TopP = values.OptionalNumber("top_p"),
            TopK = values.OptionalNumber("top_k"),
            RepetitionPenalty = values.OptionalNumber("repetition_penalty"),
        };
        return violations.Count == 0 ? config : throw new ModelFormatException(path, "", string.Join(" ", violations));
    }

    /// <summary>Writes the file durably.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(string path)
    {
        var json = new JsonObject();
        void Set(string key, JsonNode? value)
        {
            if (value is not null)
            {
                json[key] = value;
            }
        }
        Set("bos_token_id", BosTokenId);
        Set("eos_token_id", LlamaConfigWriter.Ids(EosTokenIds));
        Set("pad_token_id", PadTokenId);
        Set("do_sample", DoSample);
        Set("temperature", Temperature);
        Set("top_p", TopP);
        Set("top_k", TopK);
        Set("repetition_penalty", RepetitionPenalty);
        JsonFile.Write(path, writer => json.WriteTo(writer));
    }
}
