using System.Collections.Immutable;
using Platform.Torch.Models.Llama;
using Platform.Torch.Native;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>Number formats of a training run.</summary>
/// <param name="Compute">Type of weights and activations.</param>
/// <param name="Master">Type of master weights, gradients, moments and losses.</param>
public readonly record struct TrainingTypes(ScalarType Compute, ScalarType Master)
{
    /// <summary>bf16 with fp32 masters.</summary>
    public static TrainingTypes BFloat16 { get; } = new(ScalarType.BFloat16, ScalarType.Float32);

    /// <summary>fp32 throughout.</summary>
    public static TrainingTypes Float32 { get; } = new(ScalarType.Float32, ScalarType.Float32);

    /// <summary>fp64 throughout.</summary>
    public static TrainingTypes Float64 { get; } = new(ScalarType.Float64, ScalarType.Float64);
}

/// <summary>A tensor of the rank: views into the store's memory, owned by the store.</summary>
/// <param name="Bundle">What it is.</param>
/// <param name="Unit">The unit whose memory it lies in; null when it is frozen.</param>
/// <param name="Offset">First element, counted from the unit's; 0 when it is frozen.</param>
/// <param name="Weight">
/// Weight in the compute type, to be read by layers. Where weights are sharded, other units use the same memory in turn: it
/// holds the weight between <see cref="DataParallelExchange.UseWeights"/> for its unit and the same for another.
/// </param>
/// <param name="Gradient">
/// Sum of gradients in the master type, to be added to by layers, with the same reservation where gradients are sharded; null
/// when the tensor is frozen.
/// </param>
public sealed record StoredParameter(ParameterBundle Bundle, ParameterUnit? Unit, long Offset, Tensor Weight, Tensor? Gradient);

/// <summary>One of the four copies of every weight.</summary>
public enum StateKind
{
    /// <summary>Master weights.</summary>
    Master,

    /// <summary>First moments of the optimizer.</summary>
    FirstMoment,

    /// <summary>Second moments of the optimizer.</summary>
    SecondMoment,

    /// <summary>Gradients.</summary>
    Gradient,
}

/// <summary>
/// The memory of a rank's weights, gradients and optimizer state: flat tensors, divided into units, so that reductions, norms
/// and updates are few large operations. With sharding, a data group divides parts of it among its ranks. Frozen tensors have
/// only their weights in the compute type, whole on every rank of the data group.
/// </summary>
public sealed class ParameterStore : IDisposable
{
    private readonly ParameterMemory _memory;

    /// <summary>Allocates everything, filled with zeros, and shards nothing.</summary>
    public ParameterStore(StageLayout layout, TrainingTypes types)
        : this(layout, new ParameterStorage(types))
    {
    }

    /// <summary>Allocates everything, filled with zeros.</summary>
    public ParameterStore(StageLayout layout, ParameterStorage storage)
    {
        ArgumentNullException.ThrowIfNull(layout);
        NativeRuntime.EnsureLoaded();
        Layout = layout;
        Storage = layout.Mesh.Data == 1 ? storage with { Zero = ZeroStage.None } : storage;
        _memory = new ParameterMemory(layout, Storage, ParameterUnit.Of(layout));
        Trained = [.. from memory in Units from entry in memory.Unit.Entries select new StoredParameter(
            entry.Bundle, memory.Unit, entry.Offset, View(memory.Weights, entry), View(memory.Gradients, entry))];
        var frozen = layout.Bundles.Where(bundle => !bundle.IsTrained).Select((bundle, i) => new StoredParameter(
            bundle, null, 0, View(_memory.Frozen[i], new UnitEntry(bundle, 0)), null));
        Parameters = [.. Trained, .. frozen];
    }

    /// <summary>What is stored.</summary>
    public StageLayout Layout { get; }

    /// <summary>How; with one data rank nothing is sharded.</summary>
    public ParameterStorage Storage { get; }

    /// <summary>Number formats.</summary>
    public TrainingTypes Types => Storage.Types;

    /// <summary>Where its tensors lie, and where layers compute.</summary>
    public torch.Device Device => Storage.Device ?? torch.CPU;

    /// <summary>The memory of each unit, by the unit's index.</summary>
    public ImmutableArray<UnitMemory> Units => _memory.Units;

    /// <summary>All tensors: the trained ones in the order of their memory, then the frozen ones.</summary>
    public IReadOnlyList<StoredParameter> Parameters { get; }

    /// <summary>Tensors that are trained, in the order of their memory.</summary>
    public IReadOnlyList<StoredParameter> Trained { get; }

    /// <summary>Bytes of weights, gradients and optimizer state on this rank.</summary>
    public long ByteLength => _memory.ByteLength;

    /// <summary>Grows whenever weights change, so that what was gathered before can be told from what is current.</summary>
    public long Version { get; private set; }

    /// <summary>Whether this rank writes a part of a checkpoint: with sharding every rank has elements that no other has.</summary>
    public bool SavesState => Storage.Zero != ZeroStage.None || Layout.Coordinate.Data == 0;

    /// <summary>A tensor by role.</summary>
    public StoredParameter Find(BundleRole role, int? layer) =>
        Parameters.Single(parameter => parameter.Bundle.Role == role && parameter.Bundle.Layer == layer);

    /// <summary>The unit of a decoder layer, or outside of them of a role; null when nothing of it is trained.</summary>
    public ParameterUnit? FindUnit(BundleRole role, int? layer) => Units.Select(memory => memory.Unit)
        .SingleOrDefault(unit => layer is null ? unit.Layer is null && unit.Role == role : unit.Layer == layer);

    /// <summary>Sets the weights to their initial values and the rest to zero.</summary>
    public void Initialise(long seed) =>
        Fill(part => LlamaInitializer.Create(Layout.Config, part.Parameter, part.Slice, seed, Types.Master));

    /// <summary>Sets the weights to those of a model's files, adapters to their initial values, and the rest to zero.</summary>
    /// <param name="files">Files with every weight of the model; this rank reads its slices.</param>
    /// <param name="seed">Seed of the adapters.</param>
    /// <exception cref="Formats.ModelFormatException">A weight is missing or has another shape than the model's.</exception>
    public void Load(LlamaWeightFiles files, long seed)
    {
        ArgumentNullException.ThrowIfNull(files);
        Fill(part => part.Parameter.IsAdapter
            ? LlamaInitializer.Create(Layout.Config, part.Parameter, part.Slice, seed, Types.Master)
            : files.Read(part.Parameter, part.Slice, Types.Master));
    }

    /// <summary>
    /// Rounds the master weights to the compute type; call it after every change of them, on every rank. Where a data group
    /// shares masters or weights, the ranks gather each other's part when it is used next.
    /// </summary>
    public void PublishMasters()
    {
        Version++;
        if (Types.Compute == Types.Master)
            return;
        using var withoutGradients = torch.no_grad();
        foreach (var memory in Units)
            memory.WeightShard.copy_(memory.Master);
    }

    /// <summary>Sets the gradients to zero.</summary>
    public void ZeroGradients()
    {
        using var withoutGradients = torch.no_grad();
        foreach (var memory in Units)
        {
            // Where gradients are sharded, what layers add to is emptied as soon as it is reduced.
            if (Storage.Zero < ZeroStage.Gradients)
                memory.Gradients.zero_();
            else
                memory.GradientSum.zero_();
        }
    }

    /// <summary>
    /// What this rank holds of one kind of state, as boxes of global tensors, padding left out; copies that another rank of the
    /// tensor group or pipeline counts are included, see <see cref="StageLayout.Owns"/>.
    /// </summary>
    public IEnumerable<StatePiece> Pieces(StateKind kind) =>
        from memory in Units
        from entry in memory.Unit.Entries
        from part in entry.Bundle.Parts
        from piece in StatePiece.Of(kind, memory.Unit, entry, part, memory.Of(kind).Range)
        select piece;

    /// <summary>The elements of a piece, flat; the caller disposes the view.</summary>
    public Tensor View(StatePiece piece)
    {
        ArgumentNullException.ThrowIfNull(piece);
        return Units[piece.Unit.Index].View(piece.Kind, piece.Range);
    }

    /// <summary>
    /// The elements of one part of a bundle that exist in the whole weight, without padding: a view of shape [rows, ...] that
    /// the caller disposes. Of a frozen tensor there is only the weight, in the compute type.
    /// </summary>
    /// <exception cref="InvalidOperationException">The data group divides this state among its ranks; use <see cref="Pieces"/>.</exception>
    public Tensor PartView(StateKind kind, StoredParameter parameter, BundlePart part)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(part);
        using var scope = torch.NewDisposeScope();
        return BundleView(kind, parameter).narrow(0, part.LocalStart, part.LocalShape[0])
            .narrow(part.Slice.Dimension, 0, part.Slice.Length).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var parameter in Parameters)
        {
            parameter.Weight.Dispose();
            parameter.Gradient?.Dispose();
        }

        _memory.Dispose();
    }

    private void Fill(Func<BundlePart, Tensor> valueOf)
    {
        using var scope = torch.NewDisposeScope();
        using var withoutGradients = torch.no_grad();
        foreach (var memory in Units)
        {
            memory.FirstMoment.zero_();
            memory.SecondMoment.zero_();
        }

        ZeroGradients();
        foreach (var parameter in Parameters)
        {
            foreach (var part in parameter.Bundle.Parts)
            {
                // A part is made whole, and what the data group leaves to this rank is taken from it.
                using var value = valueOf(part);
                using var existing = value.narrow(part.Slice.Dimension, 0, part.Slice.Length);
                if (parameter.Unit is { } unit)
                    FillPieces(unit, new UnitEntry(parameter.Bundle, parameter.Offset), part, existing);
                else
                    PartView(StateKind.Master, parameter, part).copy_(existing);
            }
        }

        PublishMasters();
    }

    private void FillPieces(ParameterUnit unit, UnitEntry entry, BundlePart part, Tensor value)
    {
        using var flat = value.reshape(-1);
        var start = entry.Offset + (part.LocalStart * part.LocalShape.Skip(1).Aggregate(1L, (product, length) => product * length));
        foreach (var piece in StatePiece.Of(StateKind.Master, unit, entry, part, Units[unit.Index].Kept))
        {
            using var source = flat.narrow(0, piece.Range.Start - start, piece.Range.Count);
            using var place = View(piece);
            place.copy_(source);
        }
    }

    private Tensor BundleView(StateKind kind, StoredParameter parameter)
    {
        if (parameter.Unit is not { } unit)
            return kind == StateKind.Master
                ? parameter.Weight.alias()
                : throw new ArgumentException($"The frozen {parameter.Bundle.Role} has no state but its weight.", nameof(kind));
        var range = new ElementRange(parameter.Offset, parameter.Bundle.ElementCount);
        var memory = Units[unit.Index];
        return memory.Of(kind).Range.Intersect(range) == range
            ? memory.View(kind, range).view([.. parameter.Bundle.Shape])
            : throw new InvalidOperationException($"This rank has only a part of the {kind} of {parameter.Bundle.Role}.");
    }

    private static Tensor View(Tensor flat, UnitEntry entry)
    {
        using var scope = torch.NewDisposeScope();
        return flat.narrow(0, entry.Offset, entry.Bundle.ElementCount).view([.. entry.Bundle.Shape]).DetachFromDisposeScope();
    }
}
