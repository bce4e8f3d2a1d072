using System.Collections.Immutable;
using Platform.Core.Models;

namespace Platform.Torch.Models.Llama;

/// <summary>
/// The weights of a Llama-family decoder, in the order in which they are used, under the names Hugging Face gives them.
/// Everything that creates, splits, saves or loads weights goes by this list.
/// </summary>
public static class LlamaParameters
{
    /// <summary>Name of the token embedding.</summary>
    public const string EmbeddingName = "model.embed_tokens.weight";

    /// <summary>Name of the norm before the head.</summary>
    public const string FinalNormName = "model.norm.weight";

    /// <summary>Name of the head of models that do not tie it to the embedding.</summary>
    public const string UntiedHeadName = "lm_head.weight";

    /// <summary>Name of the weight that the head multiplies by: its own, or the embedding's when they are tied.</summary>
    public static string HeadName(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config.TieWordEmbeddings ? EmbeddingName : UntiedHeadName;
    }

    /// <summary>Name of a weight of a decoder layer.</summary>
    /// <param name="layer">Layer, from 0.</param>
    /// <param name="role">A role that occurs in layers.</param>
    public static string NameOf(int layer, LlamaRole role) => $"model.layers.{layer}." + role switch
    {
        LlamaRole.InputNorm => "input_layernorm.weight",
        LlamaRole.Query => "self_attn.q_proj.weight",
        LlamaRole.Key => "self_attn.k_proj.weight",
        LlamaRole.Value => "self_attn.v_proj.weight",
        LlamaRole.QueryBias => "self_attn.q_proj.bias",
        LlamaRole.KeyBias => "self_attn.k_proj.bias",
        LlamaRole.ValueBias => "self_attn.v_proj.bias",
        LlamaRole.QueryNorm => "self_attn.q_norm.weight",
        LlamaRole.KeyNorm => "self_attn.k_norm.weight",
        LlamaRole.AttentionOutput => "self_attn.o_proj.weight",
        LlamaRole.PostAttentionNorm => "post_attention_layernorm.weight",
        LlamaRole.Gate => "mlp.gate_proj.weight",
        LlamaRole.Up => "mlp.up_proj.weight",
        LlamaRole.Down => "mlp.down_proj.weight",
        LlamaRole.Embedding or LlamaRole.FinalNorm or LlamaRole.Head or LlamaRole.AdapterA or LlamaRole.AdapterB =>
            throw new ArgumentException($"{role} is not part of a layer.", nameof(role)),
        _ => throw new ArgumentOutOfRangeException(nameof(role)),
    };

    /// <summary>Every weight of the model; a tied head is not listed again.</summary>
    public static ImmutableArray<LlamaParameter> All(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        var parameters = ImmutableArray.CreateBuilder<LlamaParameter>();
        parameters.Add(new(
            EmbeddingName, [config.VocabSize, config.HiddenSize], LlamaRole.Embedding, TensorSplit.Vocabulary, new ModelPosition.Embedding()));
        for (var layer = 0; layer < config.NumHiddenLayers; layer++)
            parameters.AddRange(OfLayer(config, layer));
        parameters.Add(new(FinalNormName, [config.HiddenSize], LlamaRole.FinalNorm, TensorSplit.Replicated, new ModelPosition.Head()));
        if (!config.TieWordEmbeddings)
            parameters.Add(new(
                UntiedHeadName, [config.VocabSize, config.HiddenSize], LlamaRole.Head, TensorSplit.Vocabulary, new ModelPosition.Head()));
        return parameters.DrainToImmutable();
    }

    /// <summary>The weights of one decoder layer.</summary>
    public static ImmutableArray<LlamaParameter> OfLayer(ModelConfig config, int layer)
    {
        ArgumentNullException.ThrowIfNull(config);
        long hidden = config.HiddenSize, inner = config.IntermediateSize, head = config.HeadDim;
        long query = config.NumAttentionHeads * head, keyValue = config.NumKeyValueHeads * head;
        var position = new ModelPosition.DecoderLayer(layer);
        var parameters = ImmutableArray.CreateBuilder<LlamaParameter>();

        Add(LlamaRole.InputNorm, TensorSplit.Replicated, hidden);
        Add(LlamaRole.Query, TensorSplit.Column, query, hidden);
        Add(LlamaRole.Key, TensorSplit.Column, keyValue, hidden);
        Add(LlamaRole.Value, TensorSplit.Column, keyValue, hidden);
        if (config.AttentionBias)
        {
            Add(LlamaRole.QueryBias, TensorSplit.Column, query);
            Add(LlamaRole.KeyBias, TensorSplit.Column, keyValue);
            Add(LlamaRole.ValueBias, TensorSplit.Column, keyValue);
        }

        if (config.QkNorm)
        {
            Add(LlamaRole.QueryNorm, TensorSplit.Replicated, head);
            Add(LlamaRole.KeyNorm, TensorSplit.Replicated, head);
        }

        Add(LlamaRole.AttentionOutput, TensorSplit.Row, hidden, query);
        Add(LlamaRole.PostAttentionNorm, TensorSplit.Replicated, hidden);
        Add(LlamaRole.Gate, TensorSplit.Column, inner, hidden);
        Add(LlamaRole.Up, TensorSplit.Column, inner, hidden);
        Add(LlamaRole.Down, TensorSplit.Row, hidden, inner);
        return parameters.DrainToImmutable();

        void Add(LlamaRole role, TensorSplit split, params ReadOnlySpan<long> shape) =>
            parameters.Add(new(NameOf(layer, role), [.. shape], role, split, position));
    }
}
