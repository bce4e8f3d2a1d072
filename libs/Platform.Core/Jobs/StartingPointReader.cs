using System.Text.Json.Nodes;
using Platform.Core.Specs;

namespace Platform.Core.Jobs;

/// <summary>Reads what a job says of the model it continues from, of adapters, and of mixtures.</summary>
internal static class StartingPointReader
{
    private static readonly string[] ShapeKeys =
    [
        "architecture", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
    ];

    /// <summary>Notes keys of a shape beside <c>from</c>.</summary>
    public static void RefuseShape(SpecObject model)
    {
        if (model.Has("from") && ShapeKeys.FirstOrDefault(model.Has) is { } key)
            model.Refuse("from", $"A model to continue from brings its own shape; remove {key} or this key.");
    }

    /// <summary>Adapters; null when there is no such section.</summary>
    public static LoraSpec? ReadLora(SpecObject root)
    {
        var lora = root.Section("lora");
        var rank = lora.Int("rank", 1, 65_536, 16);
        var alpha = lora.Number("alpha", new(0, 1e6, ExcludesMin: true), 2.0 * rank);
        var targets = lora.Texts("target_modules");
        for (var i = 0; i < targets.Count; i++)
        {
            if (!LoraSpec.Projections.Contains(targets[i]))
                lora.Refuse(targets.Count == 1 ? "target_modules" : $"target_modules[{i}]",
                    $"\"{targets[i]}\" has no adapter; allowed are {string.Join(", ", LoraSpec.Projections)}.");
        }

        if (lora.Take("target_modules") is JsonArray { Count: 0 })
            lora.Refuse("target_modules", "The list is empty; name at least one projection, or remove the key for q_proj and v_proj.");
        if (!root.Has("lora"))
            return null;
        var spec = new LoraSpec { Rank = rank, Alpha = alpha };
        return targets.Count == 0 ? spec : spec with { TargetModules = [.. LoraSpec.Projections.Where(targets.Contains)] };
    }

    /// <summary>Weights of all sources in their order; empty when there is no mixture.</summary>
    public static IReadOnlyList<MixtureWeight> ReadMixture(SpecObject data, IReadOnlyList<string> sources)
    {
        if (!data.Has("mixture"))
        {
            data.Know("mixture");
            return [];
        }

        var mixture = data.Section("mixture");
        if (!mixture.IsReadable || data.Take("mixture") is not JsonObject json)
            return [];
        foreach (var (key, _) in json)
        {
            mixture.Know(key);
            if (!sources.Contains(key))
                data.Refuse("mixture", $"\"{key}\" is not an entry of data.source; a mixture gives each of them a weight.");
        }

        if (json.Count == 0)
            return [];
        foreach (var source in sources.Where(source => !json.ContainsKey(source)))
            data.Refuse("mixture", $"\"{source}\" has no weight; give one to each entry of data.source.");
        if (sources.Distinct().Count() != sources.Count)
            data.Refuse("mixture", "An entry of data.source stands there twice; name each once.");
        return [.. sources.Where(json.ContainsKey).Select(source =>
            new MixtureWeight(source, mixture.Number(source, new(0, 1e9, ExcludesMin: true), 1)))];
    }
}
