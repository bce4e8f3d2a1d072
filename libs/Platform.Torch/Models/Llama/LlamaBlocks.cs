using Platform.Core.Models;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Models.Llama;

/// <summary>Weights of one attention block, or of a rank's share of its heads.</summary>
/// <param name="Query">[H·D, hidden].</param>
/// <param name="Key">[K·D, hidden].</param>
/// <param name="Value">[K·D, hidden].</param>
/// <param name="QueryBias">[H·D], or null.</param>
/// <param name="KeyBias">[K·D], or null.</param>
/// <param name="ValueBias">[K·D], or null.</param>
/// <param name="QueryNorm">[D], or null.</param>
/// <param name="KeyNorm">[D], or null.</param>
public sealed record AttentionWeights(
    Tensor Query, Tensor Key, Tensor Value, Tensor? QueryBias, Tensor? KeyBias, Tensor? ValueBias, Tensor? QueryNorm, Tensor? KeyNorm);

// Shapes: B batch, T positions, E hidden size, H query heads, K key/value heads, D head size, F inner size.

/// <summary>
/// The blocks of a Llama decoder as functions of tensors: no state, no parallelism. They record autograd when gradients are
/// on. Head counts are read from the weights, so a tensor-parallel rank passes its own share of the heads unchanged.
/// </summary>
/// <remarks>
/// Results and intermediates belong to the caller's dispose scope. Scopes are bound to a thread: open one around a segment,
/// move out what outlives it (<c>MoveToOuterDisposeScope</c>), and never await inside it; run model code on one thread of its own.
/// </remarks>
public static class LlamaBlocks
{
    /// <summary>Root-mean-square norm over the last dimension.</summary>
    public static Tensor Norm(Tensor x, Tensor weight, double epsilon) => Ops.RmsNorm(x, weight, epsilon);

    /// <summary><c>x·weightᵀ + bias</c>; weight [outputs, inputs].</summary>
    public static Tensor Linear(Tensor x, Tensor weight, Tensor? bias) => TorchSharp.torch.nn.functional.linear(x, weight, bias);

    /// <summary>Gated activation of the MLP: <c>silu(gate) · up</c> (Shazeer 2020).</summary>
    public static Tensor SwiGlu(Tensor gate, Tensor up)
    {
        using var activated = Ops.Silu(gate);
        return activated * up;
    }

    /// <summary>The MLP without its residual: <c>down(silu(gate(x)) · up(x))</c>.</summary>
    /// <param name="x_BTE">Normalised input.</param>
    /// <param name="gate">[F, E], or a column share.</param>
    /// <param name="up">[F, E], or a column share.</param>
    /// <param name="down">[E, F], or a row share; then the result is a partial sum.</param>
    public static Tensor Mlp(Tensor x_BTE, Tensor gate, Tensor up, Tensor down)
    {
        using var gated = Linear(x_BTE, gate, null);
        using var raised = Linear(x_BTE, up, null);
        using var activated = SwiGlu(gated, raised);
        return Linear(activated, down, null);
    }

    /// <summary>Projects to queries, keys and values, split into heads, normalised per head where the model does, not yet rotated.</summary>
    /// <param name="config">Head size and epsilon.</param>
    /// <param name="x_BTE">Normalised input.</param>
    /// <param name="weights">All heads or a share of them.</param>
    /// <returns>Query [B, H, T, D], key and value [B, K, T, D]: views whose memory runs position by position.</returns>
    public static (Tensor Query, Tensor Key, Tensor Value) ProjectHeads(ModelConfig config, Tensor x_BTE, AttentionWeights weights)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(weights);
        return (
            Heads(config, x_BTE, weights.Query, weights.QueryBias, weights.QueryNorm),
            Heads(config, x_BTE, weights.Key, weights.KeyBias, weights.KeyNorm),
            Heads(config, x_BTE, weights.Value, weights.ValueBias, null));
    }

    /// <summary>
    /// Causal self-attention without the output projection: projects, rotates, attends. In a tensor-parallel group each rank
    /// calls it with its share of the heads, and multiplies the result by its row share of the output projection.
    /// </summary>
    /// <param name="config">Head size and epsilon.</param>
    /// <param name="x_BTE">Normalised input; position t of each sequence is its t-th token.</param>
    /// <param name="weights">All heads or a share of them.</param>
    /// <param name="rotary">Tables of the input's type and device.</param>
    /// <returns>[B, T, H·D].</returns>
    public static Tensor AttentionCore(ModelConfig config, Tensor x_BTE, AttentionWeights weights, RotaryEmbedding rotary)
    {
        ArgumentNullException.ThrowIfNull(rotary);
        var (query, key, value) = ProjectHeads(config, x_BTE, weights);
        using (query)
        using (key)
        using (value)
        {
            using var rotatedQuery = rotary.Rotate(query, 0);
            using var rotatedKey = rotary.Rotate(key, 0);
            using var result_BHTD = CausalAttention(rotatedQuery, rotatedKey, value);
            return MergeHeads(result_BHTD);
        }
    }

    /// <summary>Causal attention of whole sequences with the usual scale 1/√D; see <see cref="Ops.ScaledDotProductAttention"/>.</summary>
    /// <param name="query">[B, H, T, D].</param>
    /// <param name="key">[B, K, T, D].</param>
    /// <param name="value">[B, K, T, D].</param>
    /// <returns>[B, H, T, D].</returns>
    public static Tensor CausalAttention(Tensor query, Tensor key, Tensor value)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        if (!IsFasterInSinglePrecision(query))
            return Ops.ScaledDotProductAttention(query, key, value, null, isCausal: true, scale: null);
        using var wideQuery = query.to(ScalarType.Float32);
        using var wideKey = key.to(ScalarType.Float32);
        using var wideValue = value.to(ScalarType.Float32);
        using var result = Ops.ScaledDotProductAttention(wideQuery, wideKey, wideValue, null, isCausal: true, scale: null);
        return result.to(query.dtype);
    }

    /// <summary>[B, H, T, D] to [B, T, H·D].</summary>
    public static Tensor MergeHeads(Tensor x_BHTD)
    {
        ArgumentNullException.ThrowIfNull(x_BHTD);
        var shape = x_BHTD.shape;
        using var turned = x_BHTD.transpose(1, 2);
        return turned.reshape(shape[0], shape[2], shape[1] * shape[3]);
    }

    /// <summary>
    /// libtorch's CPU kernel converts blocks between bf16 and fp32 as it goes; with small heads that costs more than it
    /// saves (forward and backward with D = 32: 15 ms against 21 ms on one core; no difference from D = 64 on).
    /// </summary>
    private static bool IsFasterInSinglePrecision(Tensor query) =>
        query.dtype == ScalarType.BFloat16 && query.device_type == TorchSharp.DeviceType.CPU && query.shape[^1] <= 32;

    private static Tensor Heads(ModelConfig config, Tensor x_BTE, Tensor weight, Tensor? bias, Tensor? norm)
    {
        using var projected = Linear(x_BTE, weight, bias);
        using var split = projected.view(x_BTE.shape[0], x_BTE.shape[1], -1, config.HeadDim);
        if (norm is null)
            return split.transpose(1, 2);
        using var normalised = Norm(split, norm, config.RmsNormEps);
        return normalised.transpose(1, 2);
    }
}
