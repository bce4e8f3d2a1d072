using System.Collections.Immutable;
using Platform.Torch.Parallel.Parameters;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

// Shapes: N tokens, I inputs and O outputs of this rank, R rank of an adapter, P adapters of one linear layer.

/// <summary>
/// Low-rank adapters of the projections that lie one after another in one linear layer: to the outputs of projection p it adds
/// <c>s·B_p·A_p·x</c>. In a tensor group it needs no exchange of its own: with a column-parallel layer every rank has all of A
/// and its rows of B, with a row-parallel one its columns of A and all of B, and what it adds is part of the sums that the layer
/// forms anyway. Of the factor that all ranks hold, each gets a part of the gradient.
/// </summary>
/// <param name="a">First factors, one below the other [P·R, I].</param>
/// <param name="b">Second factors, one below the other [outputs of all adapted projections, R].</param>
/// <param name="outputs">First output and number of outputs of each adapted projection, in the order of the factors.</param>
/// <param name="scale">s.</param>
public sealed class LinearAdapter(
    (Tensor Weight, Tensor Gradient) a, (Tensor Weight, Tensor Gradient) b, ImmutableArray<(long Start, long Count)> outputs, double scale)
{
    /// <summary>The adapter that a store has for a linear layer's weight; null when it has none.</summary>
    public static LinearAdapter? Find(ParameterStore store, StoredParameter layer)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(layer);
        if (store.Layout.Adapters is not { } adapters || RolesOf(layer.Bundle.Role) is not { } roles)
            return null;
        var adapted = layer.Bundle.Parts.Where(part => adapters.Targets.Contains(part.Parameter.Role)).ToList();
        if (adapted.Count == 0)
            return null;
        return new LinearAdapter(
            Factor(roles.A), Factor(roles.B), [.. adapted.Select(part => (part.LocalStart, part.LocalShape[0]))], adapters.Scale);

        (Tensor, Tensor) Factor(BundleRole role)
        {
            var factor = store.Find(role, layer.Bundle.Layer);
            return (factor.Weight, factor.Gradient ?? throw new InvalidOperationException("An adapter is trained."));
        }
    }

    /// <summary>Adds to the layer's outputs.</summary>
    /// <param name="output_NO">Outputs, before any sum over the tensor group.</param>
    /// <param name="x_NI">The layer's inputs.</param>
    public void AddTo(Tensor output_NO, Tensor x_NI)
    {
        ArgumentNullException.ThrowIfNull(output_NO);
        using var scope = torch.NewDisposeScope();
        var inner = torch.nn.functional.linear(x_NI, a.Weight).MultiplyInPlace(scale);
        foreach (var (start, count, first, row) in Parts())
            output_NO.narrow(1, start, count).AddInPlace(torch.nn.functional.linear(inner.narrow(1, first, Rank), b.Weight.narrow(0, row, count)));
    }

    /// <summary>Adds to the factors' gradients and to the gradient of the layer's inputs.</summary>
    /// <param name="gradient_NO">Gradient of the layer's outputs.</param>
    /// <param name="x_NI">The layer's inputs.</param>
    /// <param name="inputGradient_NI">Gradient of the inputs, before any sum over the tensor group.</param>
    public void Backward(Tensor gradient_NO, Tensor x_NI, Tensor inputGradient_NI)
    {
        ArgumentNullException.ThrowIfNull(gradient_NO);
        ArgumentNullException.ThrowIfNull(inputGradient_NI);
        using var scope = torch.NewDisposeScope();
        var inner = torch.nn.functional.linear(x_NI, a.Weight).MultiplyInPlace(scale);
        var innerGradient = inner.empty_like();
        foreach (var (start, count, first, row) in Parts())
        {
            var gradient = gradient_NO.narrow(1, start, count);
            LinearGradients.AddWeight(b.Gradient.narrow(0, row, count), gradient, inner.narrow(1, first, Rank));
            innerGradient.narrow(1, first, Rank).copy_(gradient.mm(b.Weight.narrow(0, row, count)));
        }

        innerGradient.MultiplyInPlace(scale);
        LinearGradients.AddWeight(a.Gradient, innerGradient, x_NI);
        inputGradient_NI.AddInPlace(innerGradient.mm(a.Weight));
    }

    private long Rank => b.Weight.shape[1];

    private static (BundleRole A, BundleRole B)? RolesOf(BundleRole layer) => layer switch
    {
        BundleRole.QueryKeyValue => (BundleRole.QueryKeyValueAdapterA, BundleRole.QueryKeyValueAdapterB),
        BundleRole.AttentionOutput => (BundleRole.AttentionOutputAdapterA, BundleRole.AttentionOutputAdapterB),
        BundleRole.GateUp => (BundleRole.GateUpAdapterA, BundleRole.GateUpAdapterB),
        BundleRole.Down => (BundleRole.DownAdapterA, BundleRole.DownAdapterB),
        _ => null,
    };

    /// <summary>Of each adapter: its outputs, its first column of the inner product, its first row of B.</summary>
    private IEnumerable<(long Start, long Count, long First, long Row)> Parts()
    {
        long row = 0;
        for (var i = 0; i < outputs.Length; i++)
        {
            yield return (outputs[i].Start, outputs[i].Count, i * Rank, row);
            row += outputs[i].Count;
        }
    }
}
