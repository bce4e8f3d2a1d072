using Platform.Torch.Native;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch;

// Shapes: B batch, H query heads, K key/value heads (H is a multiple of K), T query positions, S key positions, D head size.
public static partial class Ops
{
    /// <summary>
    /// Scaled dot-product attention, <c>softmax(q·kᵀ·scale + mask)·v</c> per head, where H / K consecutive query heads share
    /// one key/value head (grouped-query attention, Ainslie et al. 2023).
    /// </summary>
    /// <param name="query">[B, H, T, D].</param>
    /// <param name="key">[B, K, S, D].</param>
    /// <param name="value">[B, K, S, D].</param>
    /// <param name="mask">
    /// None, or a tensor that broadcasts to [B, H, T, S]: of type bool (true where attention is allowed; each row allows at
    /// least one position) or of the query's type (added to the scores).
    /// </param>
    /// <param name="isCausal">Position t attends to positions up to t only. Requires T = S and no mask.</param>
    /// <param name="scale">Factor on the scores; 1/√D when null.</param>
    /// <returns>[B, H, T, D].</returns>
    public static Tensor ScaledDotProductAttention(
        Tensor query, Tensor key, Tensor value, Tensor? mask, bool isCausal, double? scale)
    {
        CheckAttention(query, key, value, mask, isCausal);
        using var call = new Dispatcher();
        call.Add(query);
        call.Add(key);
        call.Add(value);
        call.AddOptional(mask);
        call.Add(0.0);
        call.Add(isCausal);
        call.AddOptional(scale);
        call.Add(query.shape[1] != key.shape[1]);
        return call.ReturnTensor("aten::scaled_dot_product_attention\0"u8, "\0"u8);
    }

    private static void CheckAttention(Tensor query, Tensor key, Tensor value, Tensor? mask, bool isCausal)
    {
        TensorArgument.Floating(query, nameof(query));
        TensorArgument.Dimensions(query, 4, nameof(query));
        foreach (var (tensor, name) in new[] { (key, nameof(key)), (value, nameof(value)) })
        {
            ArgumentNullException.ThrowIfNull(tensor, name);
            TensorArgument.Dimensions(tensor, 4, name);
            TensorArgument.SameType(tensor, query, name);
        }

        TensorArgument.SameShape(value, key, nameof(value));
        var (q, k) = (query.shape, key.shape);
        if (q[0] != k[0] || q[3] != k[3] || k[1] == 0 || q[1] % k[1] != 0)
            throw new ArgumentException(
                $"Query {TensorArgument.Shape(query)} and key {TensorArgument.Shape(key)} differ in batch or head size, or the " +
                "query heads are no multiple of the key/value heads.", nameof(key));
        if (isCausal && (mask is not null || q[2] != k[2]))
            throw new ArgumentException("Causal attention takes no mask and as many query as key positions.", nameof(isCausal));
        if (mask is null)
            return;
        if (mask.dtype != ScalarType.Bool && mask.dtype != query.dtype)
            throw new ArgumentException($"Expected a mask of Bool or {query.dtype}, found {mask.dtype}.", nameof(mask));
        TensorArgument.SameDevice(mask, query, nameof(mask));
        CheckBroadcast(mask, [q[0], q[1], q[2], k[2]], nameof(mask));
    }

    private static void CheckBroadcast(Tensor tensor, ReadOnlySpan<long> target, string name)
    {
        var shape = tensor.shape;
        var fits = shape.Length <= target.Length;
        for (var i = 1; fits && i <= shape.Length; i++)
            fits = shape[^i] == 1 || shape[^i] == target[^i];
        if (!fits)
            throw new ArgumentException(
                $"Shape {TensorArgument.Shape(tensor)} does not broadcast to [{string.Join(", ", target.ToArray())}].", name);
    }
}
