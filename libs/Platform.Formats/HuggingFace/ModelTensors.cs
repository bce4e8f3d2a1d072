using Platform.Core.Models;
using Platform.Formats.Safetensors;

namespace Platform.Formats.HuggingFace;

/// <summary>A weight that a model of some configuration has.</summary>
/// <param name="Name">Its name in Hugging Face files.</param>
/// <param name="Shape">Its shape; projections are [out, in].</param>
public sealed record ModelTensor(string Name, TensorShape Shape);

/// <summary>The weights of Llama-family models as Hugging Face names them, from the embedding to the head.</summary>
public static class ModelTensors
{
    /// <summary>Name of the head; absent where it is tied to the embedding.</summary>
    public const string HeadName = "lm_head.weight";

    /// <summary>All weights of a model.</summary>
    public static IEnumerable<ModelTensor> Of(ModelConfig model)
    {
        yield return new("model.embed_tokens.weight", [model.VocabSize, model.HiddenSize]);
        for (var layer = 0; layer < model.NumHiddenLayers; layer++)
        {
            foreach (var tensor in OfLayer(model, $"model.layers.{layer}."))
            {
                yield return tensor;
            }
        }
        yield return new("model.norm.weight", [model.HiddenSize]);
        if (!model.TieWordEmbeddings)
        {
            yield return new(HeadName, [model.VocabSize, model.HiddenSize]);
        }
    }

    private static IEnumerable<ModelTensor> OfLayer(ModelConfig model, string prefix)
    {
        var query = (long)model.NumAttentionHeads * model.HeadDim;
        var keyValue = (long)model.NumKeyValueHeads * model.HeadDim;
        yield return new(prefix + "input_layernorm.weight", [model.HiddenSize]);
        foreach (var (projection, width) in (IEnumerable<(string, long)>)[("q_proj", query), ("k_proj", keyValue), ("v_proj", keyValue)])
        {
            yield return new($"{prefix}self_attn.{projection}.weight", [width, model.HiddenSize]);
            if (model.AttentionBias)
            {
                yield return new($"{prefix}self_attn.{projection}.bias", [width]);
            }
        }
        if (model.QkNorm)
        {
            yield return new(prefix + "self_attn.q_norm.weight", [model.HeadDim]);
            yield return new(prefix + "self_attn.k_norm.weight", [model.HeadDim]);
        }
        yield return new(prefix + "self_attn.o_proj.weight", [model.HiddenSize, query]);
        yield return new(prefix + "post_attention_layernorm.weight", [model.HiddenSize]);
        yield return new(prefix + "mlp.gate_proj.weight", [model.IntermediateSize, model.HiddenSize]);
        yield return new(prefix + "mlp.up_proj.weight", [model.IntermediateSize, model.HiddenSize]);
        yield return new(prefix + "mlp.down_proj.weight", [model.HiddenSize, model.IntermediateSize]);
    }
}
