using System.Text.Json.Nodes;
using Platform.Core.Specs;

namespace Platform.Core.Deployments;

/// <summary>Reads and writes what an engine runs beside its model: guesses of coming tokens, and adapters.</summary>
internal static class EngineExtras
{
    private const int MostLoras = 256;

    private static readonly Choices<string> Methods = Choices.Of("ngram", "draft");

    /// <summary><c>speculative_config</c>; null when it is absent.</summary>
    public static SpeculativeOptions? ReadSpeculative(SpecObject engine)
    {
        if (!engine.Has("speculative_config"))
        {
            engine.Know("speculative_config");
            return null;
        }

        var speculative = engine.Section("speculative_config");
        var defaults = new SpeculativeOptions();
        var model = speculative.OptionalText("model");
        // As in vLLM, a model alone says how.
        var method = speculative.Choice("method", Methods, model is null ? "ngram" : "draft");
        var longest = speculative.Int("prompt_lookup_max", 1, 64, defaults.PromptLookupMax);
        var options = new SpeculativeOptions
        {
            Model = model,
            NumSpeculativeTokens = speculative.Int("num_speculative_tokens", 1, 16, defaults.NumSpeculativeTokens),
            PromptLookupMax = longest,
            PromptLookupMin = speculative.Int("prompt_lookup_min", 1, longest, defaults.PromptLookupMin),
        };
        if (method == "draft" && !speculative.Has("model"))
            speculative.Refuse("model", "This is required with method draft; expected a registered model or a Hugging Face directory.");
        if (method == "ngram" && model is not null)
            speculative.Refuse("model", "A model guesses with method draft only; change the method or remove the key.");
        foreach (var key in (ReadOnlySpan<string>)["prompt_lookup_max", "prompt_lookup_min"])
        {
            if (method == "draft" && speculative.Has(key))
                speculative.Refuse(key, "This belongs to method ngram; remove the key.");
        }

        return options;
    }

    /// <summary><c>lora</c>; null when it is absent.</summary>
    public static LoraOptions? ReadLora(SpecObject engine)
    {
        if (!engine.Has("lora"))
        {
            engine.Know("lora");
            return null;
        }

        var lora = engine.Section("lora");
        var defaults = new LoraOptions();
        var adapters = ReadAdapters(lora);
        var most = lora.Int("max_loras", 1, MostLoras, Math.Max(defaults.MaxLoras, Math.Min(MostLoras, adapters.Count)));
        if (adapters.Count > most)
            lora.Refuse("adapters", $"There are {adapters.Count}; max_loras allows {most}.");
        return new LoraOptions
        {
            MaxLoras = most,
            MaxLoraRank = lora.Int("max_lora_rank", 1, 4096, defaults.MaxLoraRank),
            Adapters = adapters,
        };
    }

    /// <summary>Writes both into <c>engine_config</c>, where they are given.</summary>
    public static void Write(EngineOptions engine, JsonObject json)
    {
        if (engine.Speculative is { Model: { } model } draft)
        {
            json["speculative_config"] = new JsonObject
            {
                ["method"] = "draft",
                ["model"] = model,
                ["num_speculative_tokens"] = draft.NumSpeculativeTokens,
            };
        }
        else if (engine.Speculative is { } speculative)
        {
            json["speculative_config"] = new JsonObject
            {
                ["method"] = "ngram",
                ["num_speculative_tokens"] = speculative.NumSpeculativeTokens,
                ["prompt_lookup_max"] = speculative.PromptLookupMax,
                ["prompt_lookup_min"] = speculative.PromptLookupMin,
            };
        }

        if (engine.Lora is { } lora)
        {
            json["lora"] = new JsonObject
            {
                ["max_loras"] = lora.MaxLoras,
                ["max_lora_rank"] = lora.MaxLoraRank,
                ["adapters"] = new JsonArray([.. lora.Adapters.Select(adapter => new JsonObject { ["name"] = adapter.Name, ["model"] = adapter.Model })]),
            };
        }
    }

    private static List<LoraAdapterOptions> ReadAdapters(SpecObject lora)
    {
        var adapters = new List<LoraAdapterOptions>();
        if (lora.Take("adapters") is not { } given)
            return adapters;
        if (given is not JsonArray list)
        {
            lora.Refuse("adapters", $"Found {SpecScalar.Show(given)}; expected a list of name and model.");
            return adapters;
        }

        for (var i = 0; i < list.Count; i++)
        {
            var adapter = lora.Item("adapters", i, list[i]);
            if (!adapter.Has("name"))
                adapter.Miss("name", "the model name of requests");
            if (!adapter.Has("model"))
                adapter.Miss("model", "a registered model or a directory as PEFT writes it");
            var (name, model) = (adapter.OptionalName("name"), adapter.OptionalText("model"));
            if (name is not null && adapters.Any(other => other.Name == name))
                adapter.Refuse("name", $"There are two adapters of the name \"{name}\".");
            if (name is not null && model is not null)
                adapters.Add(new LoraAdapterOptions { Name = name, Model = model });
        }

        return adapters;
    }
}
