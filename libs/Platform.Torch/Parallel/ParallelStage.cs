using Platform.Core.Models;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>
/// One rank's part of one chunk of a Llama-family decoder: its share of the heads, inner size and vocabulary of the chunk's
/// layers. A pipeline stage has one chunk, or several with virtual stages. Autograd is off around it and on only inside segments; the backward is called explicitly, in reverse.
/// </summary>
/// <remarks>Used by one thread. It does not own the store or the groups.</remarks>
public sealed class ParallelStage : IDisposable
{
    private readonly ParameterStore _store;
    private readonly DataParallelExchange? _exchange;
    private readonly List<ParameterUnit?> _layerUnits = [];
    private readonly ParameterUnit? _embeddingUnit;
    private readonly ParameterUnit? _normUnit;
    private readonly ParameterUnit? _headUnit;
    private readonly TensorParallelRegion _region;
    private readonly RotaryEmbedding _rotary;
    private readonly VocabularyParallelEmbedding? _embedding;
    private readonly List<ParallelDecoderLayer> _layers = [];
    private readonly RmsNormSegment? _finalNorm;
    private readonly VocabularyParallelLoss? _loss;

    /// <summary>A chunk over a store's tensors.</summary>
    /// <param name="groups">The rank's groups.</param>
    /// <param name="store">Its tensors.</param>
    /// <param name="chunk">Which of the rank's chunks, from 0.</param>
    /// <param name="sequenceLength">Tokens per sequence.</param>
    /// <param name="checkpointing">What layers recompute.</param>
    /// <param name="exchange">Is told where each unit is used; null where nothing is sharded and nothing overlaps. Not owned.</param>
    /// <param name="zLossCoefficient">Weight of the z-loss in what is trained; 0 for none.</param>
    public ParallelStage(
        ParallelGroups groups, ParameterStore store, int chunk, int sequenceLength, ActivationCheckpointing checkpointing,
        DataParallelExchange? exchange = null, double zLossCoefficient = 0)
    {
        ArgumentNullException.ThrowIfNull(groups);
        ArgumentNullException.ThrowIfNull(store);
        (_store, _exchange) = (store, exchange);
        SequenceLength = sequenceLength;
        var layout = store.Layout;
        var layers = layout.Chunks[chunk];
        _region = new TensorParallelRegion(groups.Tensor, layout.SequenceParallel);
        (IsFirst, IsLast) = (layout.IsFirst && chunk == 0, layout.IsLast && chunk == layout.Chunks.Length - 1);
        _rotary = new RotaryEmbedding(layout.Config, sequenceLength, store.Types.Compute, store.Device);
        foreach (var layer in Enumerable.Range(layers.First, layers.Count))
        {
            _layerUnits.Add(store.FindUnit(BundleRole.InputNorm, layer));
            _layers.Add(new(_region, store, layer, _rotary.Cosine_PD, _rotary.Sine_PD, checkpointing));
        }

        if (IsFirst)
        {
            var table = store.Find(BundleRole.Embedding, null);
            _embeddingUnit = table.Unit;
            _embedding = new(_region, table.Weight, table.Gradient, table.Bundle.Parts[0].Slice);
        }

        if (IsLast)
        {
            var norm = store.Find(BundleRole.FinalNorm, null);
            _finalNorm = new(norm.Weight, norm.Gradient, layout.Config.RmsNormEps);
            var head = store.Find(layout.Config.TieWordEmbeddings ? BundleRole.Embedding : BundleRole.Head, null);
            (_normUnit, _headUnit) = (norm.Unit, head.Unit);
            _loss = new(_region, head.Weight, head.Gradient, head.Bundle.Parts[0].Slice, store.Types.Master, zLossCoefficient);
        }
    }

    /// <summary>Whether the chunk has the embedding.</summary>
    public bool IsFirst { get; }

    /// <summary>Whether the chunk has the head.</summary>
    public bool IsLast { get; }

    /// <summary>Shape of the whole model.</summary>
    public ModelConfig Config => _store.Layout.Config;

    /// <summary>Tokens per sequence.</summary>
    public int SequenceLength { get; }

    /// <summary>All of a rank's chunks, in order; the caller disposes each.</summary>
    /// <param name="groups">The rank's groups.</param>
    /// <param name="store">Its tensors.</param>
    /// <param name="sequenceLength">Tokens per sequence.</param>
    /// <param name="checkpointing">What layers recompute.</param>
    /// <param name="exchange">Is told where each unit is used; null where nothing is sharded and nothing overlaps. Not owned.</param>
    /// <param name="zLossCoefficient">Weight of the z-loss in what is trained; 0 for none.</param>
    public static IReadOnlyList<ParallelStage> CreateAll(
        ParallelGroups groups, ParameterStore store, int sequenceLength, ActivationCheckpointing checkpointing,
        DataParallelExchange? exchange = null, double zLossCoefficient = 0)
    {
        ArgumentNullException.ThrowIfNull(store);
        return [.. store.Layout.Chunks.Select(
            (_, chunk) => new ParallelStage(groups, store, chunk, sequenceLength, checkpointing, exchange, zLossCoefficient))];
    }

    /// <summary>An uninitialised tensor for this rank's rows of the activations or gradients of a micro-batch.</summary>
    public Tensor EmptyHidden(int sequences) =>
        torch.empty([_region.RowsOf((long)sequences * SequenceLength), Config.HiddenSize], dtype: _store.Types.Compute, device: _store.Device);

    /// <summary>Residual stream after the first chunk, from tokens.</summary>
    /// <param name="tokens_N">Int64 ids, sequence by sequence.</param>
    /// <param name="sequences">Number of sequences.</param>
    /// <param name="tape">What the backward needs; null when there will be none.</param>
    public Tensor ForwardTokens(Tensor tokens_N, int sequences, ActivationTape? tape)
    {
        var embedding = _embedding ?? throw new InvalidOperationException("Only the first chunk takes tokens.");
        using var scope = torch.NewDisposeScope();
        Use(_embeddingUnit, _layerUnits[0]);
        return ForwardHidden(embedding.Forward(tokens_N, tape), sequences, tape).MoveToOuterDisposeScope();
    }

    /// <summary>Residual stream after the chunk's layers; this rank's rows.</summary>
    /// <param name="x_NE">Residual stream before them; must stay unchanged until the backward.</param>
    /// <param name="sequences">Number of sequences.</param>
    /// <param name="tape">What the backward needs; null when there will be none.</param>
    public Tensor ForwardHidden(Tensor x_NE, int sequences, ActivationTape? tape)
    {
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        for (var i = 0; i < _layers.Count; i++)
        {
            Use(_layerUnits[i], i + 1 < _layers.Count ? _layerUnits[i + 1] : _headUnit);
            x_NE = _layers[i].Forward(x_NE, sequences, tape);
        }

        return x_NE.MoveToOuterDisposeScope();
    }

    /// <summary>Loss of each token on the last chunk, whose gradient goes on the tape.</summary>
    /// <param name="x_NE">Residual stream after the last layer.</param>
    /// <param name="targets_N">Int64 successors.</param>
    /// <param name="scale">Weight of each token's loss.</param>
    /// <param name="tape">The micro-batch's tape.</param>
    /// <returns>Cross-entropy per token in nats [N].</returns>
    public Tensor Loss(Tensor x_NE, Tensor targets_N, double scale, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(tape);
        var (norm, head) = Head();
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        Use(_normUnit, _headUnit);
        var normalised = norm.Forward(x_NE, tape);
        Use(_headUnit, _layerUnits[^1]);
        BeginGradients(_headUnit);
        var (loss, gradient) = head.Differentiate(normalised, targets_N, scale);
        EndGradients(_headUnit);
        tape.Push(gradient);
        return loss.MoveToOuterDisposeScope();
    }

    /// <summary>Loss of each token on the last chunk, for evaluation.</summary>
    /// <returns>Cross-entropy per token in nats [N].</returns>
    public Tensor Evaluate(Tensor x_NE, Tensor targets_N)
    {
        var (norm, head) = Head();
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        Use(_normUnit, _headUnit);
        var normalised = norm.Forward(x_NE, null);
        Use(_headUnit, null);
        return head.Evaluate(normalised, targets_N).MoveToOuterDisposeScope();
    }

    /// <summary>The last chunk's gradient of the residual stream, from the loss on the tape; adds to the final norm's gradient.</summary>
    public Tensor BackwardLoss(ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(tape);
        using var withoutGradients = torch.no_grad();
        Use(_normUnit, _layerUnits[^1]);
        BeginGradients(_normUnit);
        var gradient = Head().Norm.Backward(tape.Pop(), tape);
        EndGradients(_normUnit);
        return gradient;
    }

    /// <summary>Adds to the gradients of the chunk's layers, and of the embedding if it has one.</summary>
    /// <param name="gradient_NE">Gradient of the residual stream after the layers.</param>
    /// <param name="sequences">Number of sequences.</param>
    /// <param name="tape">The forward's tape; it is empty afterwards.</param>
    /// <returns>Gradient of the residual stream before them; before the first chunk there is nobody to send it to.</returns>
    public Tensor Backward(Tensor gradient_NE, int sequences, ActivationTape tape)
    {
        ArgumentNullException.ThrowIfNull(tape);
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        for (var i = _layers.Count - 1; i >= 0; i--)
        {
            Use(_layerUnits[i], i > 0 ? _layerUnits[i - 1] : null);
            BeginGradients(_layerUnits[i]);
            gradient_NE = _layers[i].Backward(gradient_NE, sequences, tape);
            EndGradients(_layerUnits[i]);
        }

        if (_embedding is not null)
        {
            BeginGradients(_embeddingUnit);
            _embedding.Backward(gradient_NE, tape);
            EndGradients(_embeddingUnit);
        }

        tape.Release();
        if (tape.Count != 0)
            throw new InvalidOperationException($"{tape.Count} tensors were kept and not used: a backward does not match its forward.");
        return gradient_NE.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose() => _rotary.Dispose();

    private void Use(ParameterUnit? unit, ParameterUnit? next)
    {
        if (unit is not null)
            _exchange?.UseWeights(unit, next);
    }

    private void BeginGradients(ParameterUnit? unit)
    {
        if (unit is not null)
            _exchange?.BeginGradients(unit);
    }

    private void EndGradients(ParameterUnit? unit)
    {
        if (unit is not null)
            _exchange?.EndGradients(unit);
    }

    private (RmsNormSegment Norm, VocabularyParallelLoss Loss) Head() =>
        _finalNorm is not null && _loss is not null
            ? (_finalNorm, _loss)
            : throw new InvalidOperationException("Only the last chunk has a head.");
}
