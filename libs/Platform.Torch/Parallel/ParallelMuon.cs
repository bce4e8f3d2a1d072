using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel.Parameters;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>Constants of Muon.</summary>
/// <param name="Momentum">Decay of the momentum.</param>
/// <param name="Nesterov">Look ahead along the momentum.</param>
/// <param name="Iterations">Newton–Schulz iterations.</param>
public readonly record struct MuonSettings(double Momentum, bool Nesterov, int Iterations);

/// <summary>
/// Muon (Jordan et al. 2024) for the matrices of decoder layers, AdamW for everything else: a matrix moves along its
/// orthogonalised momentum, <c>W ← (1 − ηλ)·W − η·0.2·√max(rows, columns)·orthogonalise(u)</c>, with <c>m ← μ·m + g</c> and
/// <c>u = g + μ·m</c> (or <c>m</c>). The factor gives updates the root mean square that AdamW's have, so that one learning rate
/// serves both (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
/// </summary>
/// <remarks>
/// What is orthogonalised is the whole matrix of the model, whatever ranks divide it: the data group gathers shards of u, the
/// tensor group its parts. Each matrix is orthogonalised by one rank of the data group, in turn, which hands out the result; so
/// the bits do not depend on sharding. It uses the data group, whose exchange must be at rest.
/// </remarks>
public sealed class ParallelMuon : IParallelOptimizer
{
    private readonly ParallelGroups _groups;
    private readonly ParameterStore _store;
    private readonly AdamWSettings _settings;
    private readonly MuonSettings _muon;
    private readonly ParallelAdamW _others;

    /// <summary>An optimizer of a rank's store.</summary>
    /// <param name="groups">The rank's groups.</param>
    /// <param name="store">Its tensors, with <see cref="ParameterStorage.LayerMatricesHaveOneMoment"/>.</param>
    /// <param name="settings">Constants of AdamW; weight decay and clipping are Muon's too.</param>
    /// <param name="muon">Constants of Muon.</param>
    public ParallelMuon(ParallelGroups groups, ParameterStore store, AdamWSettings settings, MuonSettings muon)
    {
        ArgumentNullException.ThrowIfNull(groups);
        ArgumentNullException.ThrowIfNull(store);
        if (!store.Storage.LayerMatricesHaveOneMoment)
            throw new ArgumentException("The store keeps two moments of each matrix; Muon has one.", nameof(store));
        (_groups, _store, _settings, _muon) = (groups, store, settings, muon);
        _others = new ParallelAdamW(store, settings);
    }

    /// <inheritdoc/>
    public void Update(int update, double learningRate, double gradientNorm)
    {
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        GradientClipping.Clip(_store, _settings.GradientClip, gradientNorm);
        _others.Update(_store.Units.Where(memory => memory.Unit.Layer is null), unit => unit.Decayed, _settings.WeightDecay, update, learningRate);
        _others.Update(_store.Units, unit => unit.NotDecayed, 0, update, learningRate);
        var matrix = 0;
        foreach (var memory in _store.Units.Where(memory => memory.Unit.Layer is not null))
        {
            using var inner = torch.NewDisposeScope();
            var directions = Directions(memory);
            foreach (var entry in memory.Unit.Entries.Where(entry => entry.Bundle.Decays))
            {
                foreach (var part in entry.Bundle.Parts)
                    Orthogonalise(directions, entry, part, matrix++ % _groups.Data.Size);
            }

            var range = memory.Unit.Decayed.Intersect(memory.Kept);
            memory.View(StateKind.Master, range).MultiplyInPlace(1 - (learningRate * _settings.WeightDecay))
                .AddInPlace(directions.narrow(0, range.Start, range.Count), -learningRate);
        }

        _store.ZeroGradients();
        _store.PublishMasters();
    }

    /// <summary>Advances a unit's momentum; what is to be orthogonalised, flat, of the whole unit.</summary>
    private Tensor Directions(UnitMemory memory)
    {
        var range = memory.Unit.Decayed.Intersect(memory.Kept);
        var (gradient, momentum) = (memory.View(StateKind.Gradient, range), memory.View(StateKind.FirstMoment, range));
        momentum.MultiplyInPlace(_muon.Momentum).AddInPlace(gradient);
        var whole = torch.zeros([memory.Unit.Length], dtype: _store.Types.Master, device: momentum.device);
        var mine = whole.narrow(0, range.Start, range.Count);
        mine.copy_(momentum);
        if (_muon.Nesterov)
            mine.MultiplyInPlace(_muon.Momentum).AddInPlace(gradient);
        if (_store.Storage.Zero != ZeroStage.None)
        {
            var buffer = GroupTensors.BufferOf(whole);
            _groups.Data.AllGather(buffer.Slice(memory.Shard.Start, memory.Shard.Count), buffer);
            GC.KeepAlive(whole);
        }

        return whole;
    }

    /// <summary>Replaces one weight's part of the directions by the same part of the whole matrix orthogonalised.</summary>
    private void Orthogonalise(Tensor directions, UnitEntry entry, BundlePart part, int worker)
    {
        var (rows, columns) = (part.LocalShape[0], part.LocalShape[1]);
        var flat = directions.narrow(0, entry.Offset + (part.LocalStart * columns), rows * columns);
        if (_groups.Data.Rank == worker)
        {
            var mine = flat.view(rows, columns);
            var scale = 0.2 * Math.Sqrt(Math.Max(part.Parameter.Shape[0], part.Parameter.Shape[1]));
            mine.copy_(Part(NewtonSchulz.Orthogonalise(Whole(mine, part.Parameter.Split), _muon.Iterations), part).MultiplyInPlace(scale));
        }

        if (_groups.Data.Size > 1)
        {
            _groups.Data.Broadcast(GroupTensors.BufferOf(flat), worker);
            GC.KeepAlive(flat);
        }
    }

    private Tensor Whole(Tensor mine, TensorSplit split)
    {
        var width = _groups.Tensor.Size;
        if (width == 1 || split == TensorSplit.Replicated)
            return mine;
        var (rows, columns) = (mine.shape[0], mine.shape[1]);
        var all = torch.empty([width, rows, columns], dtype: mine.dtype, device: mine.device);
        _groups.Tensor.AllGather(GroupTensors.BufferOf(mine), GroupTensors.BufferOf(all));
        GC.KeepAlive(mine);
        return split == TensorSplit.Row
            ? all.transpose(0, 1).reshape(rows, width * columns)
            : all.view(width * rows, columns);
    }

    private static Tensor Part(Tensor whole, BundlePart part) => whole.narrow(part.Slice.Dimension, part.Slice.Start, part.Slice.Length);
}
