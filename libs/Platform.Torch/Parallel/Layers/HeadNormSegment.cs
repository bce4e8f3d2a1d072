using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens; H query and K key/value heads of this rank, D head size.

/// <summary>
/// Norms of each query and key head between projection and rotation (Qwen3). All heads share one weight; each rank of a tensor
/// group normalises its own heads, so its gradient of that weight is a part of a sum over the group.
/// </summary>
/// <param name="heads">H.</param>
/// <param name="keyValueHeads">K.</param>
/// <param name="headDim">D.</param>
/// <param name="query">Norm of queries, over rows of D.</param>
/// <param name="key">Norm of keys, over rows of D.</param>
public sealed class HeadNormSegment(int heads, int keyValueHeads, int headDim, RmsNormSegment query, RmsNormSegment key)
{
    /// <summary>Normalises queries and keys; values pass.</summary>
    /// <param name="projected">[N, (H + 2K)·D]: queries, keys and values side by side; not changed.</param>
    /// <param name="tape">What the backward needs; null when there will be none.</param>
    /// <returns>A new tensor of the same shape.</returns>
    public Tensor Forward(Tensor projected, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(projected);
        var result = projected.clone();
        foreach (var (norm, start, length) in Parts())
        {
            var rows = projected.narrow(1, start, length).reshape(-1, headDim);
            result.narrow(1, start, length).copy_(norm.Forward(rows, tape).view(projected.shape[0], length));
        }

        return result;
    }

    /// <summary>Adds to the norms' gradients; replaces the gradient of the result by that of the projections, in place.</summary>
    public Tensor Backward(Tensor gradient, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(gradient);
        foreach (var (norm, start, length) in Parts().Reverse())
        {
            var part = gradient.narrow(1, start, length);
            part.copy_(norm.Backward(part.reshape(-1, headDim), tape).view(gradient.shape[0], length));
        }

        return gradient;
    }

    private (RmsNormSegment Norm, long Start, long Length)[] Parts() =>
    [
        (query, 0, (long)heads * headDim), (key, (long)heads * headDim, (long)keyValueHeads * headDim),
    ];
}
