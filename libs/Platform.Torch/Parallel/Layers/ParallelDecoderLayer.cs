using Platform.Torch.Parallel.Parameters;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

/// <summary>What a layer's backward computes again instead of keeping it.</summary>
public enum ActivationCheckpointing
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>The attention between its projections.</summary>
    Selective,

    /// <summary>The whole layer; only its input is kept.</summary>
    Full,
}

/// <summary>
/// One decoder layer of a tensor-parallel group. Forward and backward each hold two all-reduces, one per block, or with
/// sequence parallelism a gather before and a scattered sum after each; between them stand segments without communication.
/// The residual stream has the rows that the region gives this rank.
/// </summary>
public sealed class ParallelDecoderLayer
{
    private readonly RmsNormSegment _inputNorm;
    private readonly ColumnParallelLinear _queryKeyValue;
    private readonly HeadNormSegment? _headNorm;
    private readonly AttentionCoreSegment _attention;
    private readonly RowParallelLinear _attentionOutput;
    private readonly RmsNormSegment _postAttentionNorm;
    private readonly ColumnParallelLinear _gateUp;
    private readonly RowParallelLinear _down;
    private readonly bool _recomputesAll;

    /// <summary>A layer over a store's tensors.</summary>
    /// <param name="region">Boundary between the residual stream and the tensor group.</param>
    /// <param name="store">Weights and gradients.</param>
    /// <param name="layer">Which layer.</param>
    /// <param name="cosine_PD">Cosines of the rotation.</param>
    /// <param name="sine_PD">Sines of the rotation.</param>
    /// <param name="checkpointing">What is recomputed.</param>
    public ParallelDecoderLayer(
        TensorParallelRegion region, ParameterStore store, int layer, Tensor cosine_PD, Tensor sine_PD, ActivationCheckpointing checkpointing)
    {
        ArgumentNullException.ThrowIfNull(store);
        var config = store.Layout.Config;
        _recomputesAll = checkpointing == ActivationCheckpointing.Full;
        _inputNorm = Norm(BundleRole.InputNorm);
        var (projection, bias) = (Find(BundleRole.QueryKeyValue), config.AttentionBias ? Find(BundleRole.QueryKeyValueBias) : null);
        _queryKeyValue = new(
            region, projection.Weight, projection.Gradient, bias?.Weight, bias?.Gradient, LinearAdapter.Find(store, projection));
        if (config.QkNorm)
            _headNorm = new(store.Layout.Heads, store.Layout.KeyValueHeads, config.HeadDim, Norm(BundleRole.QueryNorm), Norm(BundleRole.KeyNorm));
        _attention = new(
            store.Layout.Heads, store.Layout.KeyValueHeads, config.HeadDim, cosine_PD, sine_PD,
            checkpointing == ActivationCheckpointing.Selective);
        _attentionOutput = Row(BundleRole.AttentionOutput);
        _postAttentionNorm = Norm(BundleRole.PostAttentionNorm);
        var gateUp = Find(BundleRole.GateUp);
        _gateUp = new(region, gateUp.Weight, gateUp.Gradient, adapter: LinearAdapter.Find(store, gateUp));
        _down = Row(BundleRole.Down);

        StoredParameter Find(BundleRole role) => store.Find(role, layer);
        RmsNormSegment Norm(BundleRole role) => new(Find(role).Weight, Find(role).Gradient, config.RmsNormEps);
        RowParallelLinear Row(BundleRole role) => new(region, Find(role).Weight, Find(role).Gradient, LinearAdapter.Find(store, Find(role)));
    }

    /// <summary>Runs the layer.</summary>
    /// <param name="x_NE">Residual stream; not changed, and must stay so until the backward.</param>
    /// <param name="sequences">Sequences in the micro-batch.</param>
    /// <param name="tape">What the backward needs; null when there will be none.</param>
    public Tensor Forward(Tensor x_NE, int sequences, ActivationTape? tape)
    {
        ArgumentNullException.ThrowIfNull(x_NE);
        if (!_recomputesAll || tape is null)
            return Run(x_NE, sequences, tape);
        tape.Push(x_NE.alias());
        return Run(x_NE, sequences, null);
    }

    /// <summary>Adds to the gradients of the layer's weights and returns that of its input.</summary>
    /// <param name="gradient_NE">Gradient of the layer's result.</param>
    /// <param name="sequences">Sequences in the micro-batch.</param>
    /// <param name="tape">The forward's tape.</param>
    public Tensor Backward(Tensor gradient_NE, int sequences, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(gradient_NE);
        ArgumentNullException.ThrowIfNull(tape);
        using var scope = torch.NewDisposeScope();
        if (_recomputesAll)
            Run(tape.Pop(), sequences, tape);
        var middle = BackwardMlp(gradient_NE, tape).AddInPlace(gradient_NE);
        var result = BackwardAttention(middle, sequences, tape).AddInPlace(middle);
        tape.Release();
        return result.MoveToOuterDisposeScope();
    }

    private Tensor Run(Tensor x_NE, int sequences, ActivationTape? tape)
    {
        using var scope = torch.NewDisposeScope();
        var projected = _queryKeyValue.Forward(_inputNorm.Forward(x_NE, tape), tape);
        if (_headNorm is not null)
            projected = _headNorm.Forward(projected, tape);
        var middle = _attentionOutput.Forward(_attention.Forward(projected, sequences, tape), tape).AddInPlace(x_NE);
        var activated = SwiGluSegment.Forward(_gateUp.Forward(_postAttentionNorm.Forward(middle, tape), tape), tape);
        return _down.Forward(activated, tape).AddInPlace(middle).MoveToOuterDisposeScope();
    }

    private Tensor BackwardMlp(Tensor gradient_NE, ActivationTape tape) =>
        _postAttentionNorm.Backward(
            _gateUp.Backward(SwiGluSegment.Backward(_down.Backward(gradient_NE, tape), tape), tape), tape);

    private Tensor BackwardAttention(Tensor gradient_NE, int sequences, ActivationTape tape)
    {
        var projected = _attention.Backward(_attentionOutput.Backward(gradient_NE, tape), sequences, tape);
        if (_headNorm is not null)
            projected = _headNorm.Backward(projected, tape);
        return _inputNorm.Backward(_queryKeyValue.Backward(projected, tape), tape);
    }
}
