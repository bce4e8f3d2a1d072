using System.Text.Json.Nodes;
using Platform.Core.Models;
using Platform.Formats.Safetensors;

namespace Platform.Formats.HuggingFace;

/// <summary>Sets the keys of Llama-family configurations.</summary>
internal static class LlamaConfigWriter
{
    internal static void Write(JsonObject json, ModelConfig model, TensorDataType? dataType)
    {
        var family = LlamaFamily.Of(model.Architecture)
            ?? throw new ArgumentException($"The architecture is '{model.Architecture}'; supported are {LlamaFamily.Allowed}.", nameof(model));
        json["architectures"] = new JsonArray(family.ClassName);
        json["model_type"] = family.ModelType;
        json["vocab_size"] = model.VocabSize;
        json["hidden_size"] = model.HiddenSize;
        json["intermediate_size"] = model.IntermediateSize;
        json["num_hidden_layers"] = model.NumHiddenLayers;
        json["num_attention_heads"] = model.NumAttentionHeads;
        json["num_key_value_heads"] = model.NumKeyValueHeads;
        json["head_dim"] = model.HeadDim;
        json["max_position_embeddings"] = model.MaxPositionEmbeddings;
        json["rms_norm_eps"] = model.RmsNormEps;
        json["tie_word_embeddings"] = model.TieWordEmbeddings;
        json["hidden_act"] = "silu";
        json["use_cache"] ??= true;
        if (!family.HasBias)
        {
            json["attention_bias"] = false;
        }
        WriteRope(json, model);
        json["bos_token_id"] = model.BosTokenId;
        json["eos_token_id"] = Ids(model.EosTokenIds);
        if (LlamaConfigReader.NameOf(dataType) is { } name)
        {
            json[json.ContainsKey("dtype") && !json.ContainsKey("torch_dtype") ? "dtype" : "torch_dtype"] = name;
        }
    }

    internal static JsonNode? Ids(IReadOnlyList<int> ids) => ids switch
    {
        [] => null,
        [var id] => JsonValue.Create(id),
        _ => new JsonArray([.. ids.Select(id => (JsonNode)JsonValue.Create(id))]),
    };

    /// <summary>In the form the file already has: <c>rope_parameters</c> where it stands there, else the older keys.</summary>
    private static void WriteRope(JsonObject json, ModelConfig model)
    {
        var scaling = model.RopeScaling is { } rope ? Scaling(rope) : null;
        if (json.ContainsKey("rope_parameters"))
        {
            var parameters = scaling ?? new JsonObject { ["rope_type"] = "default" };
            parameters["rope_theta"] = model.RopeTheta;
            json["rope_parameters"] = parameters;
            return;
        }
        json["rope_theta"] = model.RopeTheta;
        json["rope_scaling"] = scaling;
    }

    private static JsonObject Scaling(RopeScaling rope)
    {
        var json = new JsonObject { ["rope_type"] = rope.Type, ["factor"] = rope.Factor };
        if (rope.Type == "llama3")
        {
            json["low_freq_factor"] = rope.LowFreqFactor;
            json["high_freq_factor"] = rope.HighFreqFactor;
            json["original_max_position_embeddings"] = rope.OriginalMaxPositionEmbeddings;
        }
        if (rope.Type == "yarn")
        {
            json["original_max_position_embeddings"] = rope.OriginalMaxPositionEmbeddings;
            json["beta_fast"] = rope.BetaFast;
            json["beta_slow"] = rope.BetaSlow;
            if (!rope.Truncate)
            {
                json["truncate"] = false;
            }
            if (rope.AttentionFactor is { } attention)
            {
                json["attention_factor"] = attention;
            }
        }
        return json;
    }
}
