using Platform.Core.Models;
using Platform.Core.Validation;
using Platform.Formats.Safetensors;

namespace Platform.Formats.HuggingFace;

/// <summary>
/// Reads the keys of Llama-family configurations. What would change the computation in a way the platform does not
/// do (sliding windows, other activations, other position scalings, quantised weights) is refused by name.
/// </summary>
internal static class LlamaConfigReader
{
    private static readonly Dictionary<string, TensorDataType> DataTypes = new(StringComparer.Ordinal)
    {
        ["float64"] = TensorDataType.F64,
        ["float32"] = TensorDataType.F32,
        ["float16"] = TensorDataType.F16,
        ["bfloat16"] = TensorDataType.BF16,
    };

    internal static string? NameOf(TensorDataType? type) => DataTypes.FirstOrDefault(pair => pair.Value == type).Key;

    internal static (ModelConfig Model, TensorDataType? DataType) Read(ConfigValues values, List<Violation> violations)
    {
        var family = ReadFamily(values);
        var heads = values.Size("num_attention_heads");
        var hidden = values.Size("hidden_size");
        var keyValueHeads = values.Size("num_key_value_heads", family.ModelType == "llama" ? heads : null);
        var headDim = values.Size("head_dim", hidden % heads == 0 ? Math.Max(1, hidden / heads) : null);
        var maxPositions = values.Size("max_position_embeddings");
        RefuseUnsupported(values, family, maxPositions);
        var rope = values.Section("rope_parameters");
        var model = new ModelConfig
        {
            Architecture = family.ModelType,
            VocabSize = values.Size("vocab_size"),
            HiddenSize = hidden,
            IntermediateSize = values.Size("intermediate_size"),
            NumHiddenLayers = values.Size("num_hidden_layers"),
            NumAttentionHeads = heads,
            NumKeyValueHeads = keyValueHeads,
            HeadDim = headDim,
            MaxPositionEmbeddings = maxPositions,
            RmsNormEps = values.Positive("rms_norm_eps", 1e-6),
            RopeTheta = rope?.Positive("rope_theta", 10_000) ?? values.Positive("rope_theta", 10_000),
            RopeScaling = ReadScaling(rope ?? values.Section("rope_scaling"), maxPositions),
            TieWordEmbeddings = values.Flag("tie_word_embeddings", false),
            AttentionBias = family.HasBias,
            QkNorm = family.HasQkNorm,
            BosTokenId = values.TokenIds("bos_token_id") is [var bos] ? bos : null,
            EosTokenIds = values.TokenIds("eos_token_id"),
        };
        if (violations.Count == 0 && heads % keyValueHeads != 0)
        {
            values.Refuse("num_key_value_heads", $"{keyValueHeads} does not divide num_attention_heads, which is {heads}.");
        }
        if (headDim % 2 != 0)
        {
            values.Refuse("head_dim", $"{headDim} is odd; rotary positions need pairs.");
        }
        return (model, ReadDataType(values));
    }

    private static LlamaFamily ReadFamily(ConfigValues values)
    {
        var type = values.Text("model_type");
        var family = LlamaFamily.Of(type);
        var classes = values.Texts("architectures");
        if (family is null)
        {
            values.Refuse("model_type", $"found {(type is null ? "none" : $"'{type}'")}{(classes.Count > 0 ? $" ({string.Join(", ", classes)})" : "")}; supported are {LlamaFamily.Allowed}.");
            return LlamaFamily.All[0];
        }
        if (classes.Count > 0 && !classes.Contains(family.ClassName))
        {
            values.Refuse("architectures", $"found {string.Join(", ", classes)}; for {family.ModelType} only {family.ClassName} is supported.");
        }
        return family;
    }

    private static void RefuseUnsupported(ConfigValues values, LlamaFamily family, int maxPositions)
    {
        if (values.Text("hidden_act") is { } activation && activation != "silu")
        {
            values.Refuse("hidden_act", $"found '{activation}'; only silu is supported.");
        }
        if (family.ModelType != "qwen2" && values.Flag("attention_bias", false))
        {
            values.Refuse("attention_bias", "found true, which puts a bias on the output projection too; that is not supported.");
        }
        if (values.Flag("mlp_bias", false))
        {
            values.Refuse("mlp_bias", "found true; biases in the MLP are not supported.");
        }
        if (values.Has("quantization_config"))
        {
            values.Refuse("quantization_config", "quantised weights are not supported.");
        }
        if (values.OptionalNumber("partial_rotary_factor") is { } factor && factor != 1)
        {
            values.Refuse("partial_rotary_factor", $"found {factor}; only 1 is supported.");
        }
        // Qwen's files name a window but switch it off; Mistral's mean it.
        var windowUsed = family.ModelType.StartsWith("qwen", StringComparison.Ordinal) ? values.Flag("use_sliding_window", false) : values.Has("sliding_window");
        if (windowUsed && values.Has("sliding_window") && values.Size("sliding_window") < maxPositions)
        {
            values.Refuse("sliding_window", $"found {values.Shown("sliding_window")}, which is less than max_position_embeddings ({maxPositions}); sliding windows are not supported.");
        }
    }

    /// <summary><c>rope_scaling</c>, or in newer files <c>rope_parameters</c>, which also holds the base.</summary>
    private static RopeScaling? ReadScaling(ConfigValues? values, int maxPositions)
    {
        if (values is null)
        {
            return null;
        }
        var type = values.Text("rope_type") ?? values.Text("type") ?? "default";
        switch (type)
        {
            case "default":
                return null;
            case "linear" or "dynamic":
                return new RopeScaling(type, values.Positive("factor", 1));
            case "yarn":
                return ReadYarn(values, maxPositions);
            case "llama3":
                return new RopeScaling(
                    "llama3",
                    values.Positive("factor", 1),
                    values.Positive("low_freq_factor", 1),
                    values.Positive("high_freq_factor", 4),
                    values.Size("original_max_position_embeddings", maxPositions));
            default:
                values.Refuse("rope_type", $"found '{type}'; supported are default, linear, dynamic, llama3 and yarn.");
                return null;
        }
    }

    /// <summary>Either the factor itself is given, or two coefficients whose scales it is the ratio of (Peng et al. 2023; DeepSeek).</summary>
    private static RopeScaling ReadYarn(ConfigValues values, int maxPositions)
    {
        var original = values.Size("original_max_position_embeddings", maxPositions);
        var factor = values.Positive("factor", (double)maxPositions / original);
        var attention = values.OptionalNumber("attention_factor");
        if (attention is null && values.OptionalNumber("mscale") is { } scale && values.OptionalNumber("mscale_all_dim") is { } all
            && scale != 0 && all != 0)
        {
            attention = factor <= 1 ? 1 : ((0.1 * scale * Math.Log(factor)) + 1) / ((0.1 * all * Math.Log(factor)) + 1);
        }
        return new RopeScaling(
            "yarn", factor, OriginalMaxPositionEmbeddings: original, BetaFast: values.Positive("beta_fast", 32),
            BetaSlow: values.Positive("beta_slow", 1), Truncate: values.Flag("truncate", true), AttentionFactor: attention);
    }

    private static TensorDataType? ReadDataType(ConfigValues values)
    {
        var key = values.Has("torch_dtype") ? "torch_dtype" : "dtype";
        if (values.Text(key) is not { } name)
        {
            return null;
        }
        if (DataTypes.TryGetValue(name, out var type))
        {
            return type;
        }
        values.Refuse(key, $"found '{name}'; supported are {string.Join(", ", DataTypes.Keys)}.");
        return null;
    }
}
