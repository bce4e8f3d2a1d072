using System.Text.Json.Nodes;
using Platform.Core.Validation;
using Platform.Formats.HuggingFace;
using Platform.Formats.Storage;

namespace Platform.Formats.Peft;

/// <summary>
/// The <c>adapter_config.json</c> of a low-rank adapter as PEFT writes it. What would change the computation in a way the
/// platform does not do (DoRA, adapted biases, ranks by pattern, further trained modules) is refused by name.
/// </summary>
public sealed record LoraConfig
{
    /// <summary>Name of the file.</summary>
    public const string FileName = "adapter_config.json";

    private const long MaxBytes = 1 << 20;
    private const int HighestRank = 65_536;

    /// <summary>Rank of every factor.</summary>
    public required int Rank { get; init; }

    /// <summary>Factor of B·A: α/r, or α/√r with <c>use_rslora</c>.</summary>
    public required double Scale { get; init; }

    /// <summary>Names of the adapted projections; null where the file has a pattern, so that the tensors decide.</summary>
    public required IReadOnlySet<string>? TargetModules { get; init; }

    /// <summary>Whether only some layers are adapted.</summary>
    public required bool AdaptsSomeLayers { get; init; }

    /// <summary>What the file names as the base model; a hint, since paths differ from machine to machine.</summary>
    public required string? BaseModel { get; init; }

    /// <summary>Reads the file.</summary>
    /// <exception cref="ModelFormatException">It is damaged or of a kind that is not supported; all of it is reported.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static LoraConfig Read(string path)
    {
        using var document = JsonFile.Read(path, MaxBytes);
        var root = new JsonObject();
        var violations = new List<Violation>();
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (!root.TryAdd(property.Name, JsonNode.Parse(property.Value.GetRawText())))
                violations.Add(new Violation(property.Name, "the key appears twice."));
        }

        var values = new ConfigValues(root, violations);
        if (values.Text("peft_type") is var type && type != "LORA")
            violations.Add(new Violation("peft_type", $"found {values.Shown("peft_type")}; only LORA is supported."));
        var rank = values.Size("r");
        if (rank > HighestRank)
            violations.Add(new Violation("r", $"found {rank}; at most {HighestRank} is expected."));
        var alpha = values.Positive("lora_alpha", 8);
        RefuseUnsupported(root, values);
        var config = new LoraConfig
        {
            Rank = rank,
            Scale = alpha / (values.Flag("use_rslora", false) ? Math.Sqrt(rank) : rank),
            TargetModules = ReadTargets(root, values),
            AdaptsSomeLayers = values.Has("layers_to_transform"),
            BaseModel = values.Text("base_model_name_or_path"),
        };
        return violations.Count == 0 ? config : throw new ModelFormatException(path, "", string.Join(" ", violations));
    }

    private static HashSet<string>? ReadTargets(JsonObject root, ConfigValues values)
    {
        switch (root["target_modules"])
        {
            case JsonArray list when list.Count > 0 && list.All(item => item is JsonValue text && text.TryGetValue<string>(out _)):
                // A module may be named by more of its path.
                return values.Texts("target_modules").Select(name => name[(name.LastIndexOf('.') + 1)..]).ToHashSet(StringComparer.Ordinal);
            case JsonValue pattern when pattern.TryGetValue<string>(out _):
                return null;
            default:
                values.Refuse("target_modules", $"found {values.Shown("target_modules")}; a list of projections is expected.");
                return null;
        }
    }

    private static void RefuseUnsupported(JsonObject root, ConfigValues values)
    {
        foreach (var key in (ReadOnlySpan<string>)["fan_in_fan_out", "use_dora", "lora_bias", "use_qalora"])
        {
            if (values.Flag(key, false))
                values.Refuse(key, "found true; this is not supported.");
        }

        if (values.Text("bias") is { } bias && bias != "none")
            values.Refuse("bias", $"found {values.Shown("bias")}; adapted biases are not supported, only \"none\".");
        foreach (var key in (ReadOnlySpan<string>)["rank_pattern", "alpha_pattern", "modules_to_save", "target_parameters", "trainable_token_indices"])
        {
            if (root[key] is not (null or JsonObject { Count: 0 } or JsonArray { Count: 0 }))
                values.Refuse(key, $"found {values.Shown(key)}; this is not supported.");
        }
    }
}
