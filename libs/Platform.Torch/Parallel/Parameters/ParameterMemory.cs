using System.Collections.Immutable;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>Allocates the flat tensors of a store, filled with zeros, and divides them among its units.</summary>
internal sealed class ParameterMemory : IDisposable
{
    private readonly List<Tensor> _tensors = [];
    private readonly StageLayout _layout;
    private readonly ParameterStorage _storage;
    private readonly ImmutableArray<ParameterUnit> _units;

    public ParameterMemory(StageLayout layout, ParameterStorage storage, ImmutableArray<ParameterUnit> units)
    {
        (_layout, _storage, _units) = (layout, storage, units);
        var (compute, master) = (storage.Types.Compute, storage.Types.Master);
        var isRounded = compute != master;
        var kept = PerUnit(unit => Kept(unit).Count);
        var sharesWeights = storage.Zero < ZeroStage.Parameters;

        // Without rounding the master weights are the weights, wherever these are.
        var weights = sharesWeights ? Own(compute, PerUnit(unit => unit.Length)) : Slots(compute);
        var shards = sharesWeights ? Select(weights, Kept) : Own(compute, kept);
        var masters = isRounded ? Own(master, kept) : shards;
        var gradients = storage.Zero < ZeroStage.Gradients ? Own(master, PerUnit(unit => unit.Length)) : Slots(master);
        var sums = storage.Zero < ZeroStage.Gradients ? Select(gradients, Kept) : Own(master, kept);
        var first = Own(master, kept);
        var second = Own(master, PerUnit(unit => SecondMomentKept(unit).Count));
        Frozen = Own(compute, [.. layout.Bundles.Where(bundle => !bundle.IsTrained).Select(
            bundle => (bundle.ElementCount + ParameterUnit.AlignmentElements - 1) / ParameterUnit.AlignmentElements * ParameterUnit.AlignmentElements)]);
        Units = [.. units.Select((unit, i) => new UnitMemory(
            unit, Shard(unit), Kept(unit), SecondMomentKept(unit),
            sharesWeights ? unit.Index : SlotOf(unit), storage.Zero < ZeroStage.Gradients ? unit.Index : SlotOf(unit),
            weights[i], shards[i], gradients[i], sums[i], masters[i], first[i], second[i]))];
    }

    public ImmutableArray<UnitMemory> Units { get; }

    /// <summary>Weights in the compute type of each frozen bundle, in the order of the layout, flat.</summary>
    public IReadOnlyList<Tensor> Frozen { get; }

    /// <summary>Bytes of all flat tensors.</summary>
    public long ByteLength { get; private set; }

    public void Dispose()
    {
        for (var i = _tensors.Count - 1; i >= 0; i--)
            _tensors[i].Dispose();
        _tensors.Clear();
    }

    private ElementRange Shard(ParameterUnit unit) => unit.ShardOf(_layout.Coordinate.Data, _layout.Mesh.Data);

    private ElementRange Kept(ParameterUnit unit) => _storage.Zero == ZeroStage.None ? unit.Whole : Shard(unit);

    private ElementRange SecondMomentKept(ParameterUnit unit) =>
        (_storage.LayerMatricesHaveOneMoment && unit.Layer is not null ? unit.NotDecayed : unit.Whole).Intersect(Kept(unit));

    /// <summary>
    /// Neighbouring layers alternate between two places, so that one can be filled while the other is in use; the embedding
    /// and the head share a third, and the last norm, which is small, has its own.
    /// </summary>
    private int SlotOf(ParameterUnit unit) => unit.Layer is not null
        ? _units.Count(other => other.Layer is not null && other.Index < unit.Index) % 2
        : unit.Role == BundleRole.FinalNorm ? 3 : 2;

    private long[] PerUnit(Func<ParameterUnit, long> count) => [.. _units.Select(count)];

    /// <summary>One flat tensor, a view per unit.</summary>
    private Tensor[] Own(ScalarType type, long[] counts)
    {
        var whole = Zeros(type, counts.Sum());
        long end = 0;
        return [.. counts.Select(count => View(whole, (end += count) - count, count))];
    }

    /// <summary>One flat tensor per slot, as large as the largest unit in it, a view per unit.</summary>
    private Tensor[] Slots(ScalarType type)
    {
        var slots = _units.GroupBy(SlotOf).ToDictionary(group => group.Key, group => Zeros(type, group.Max(unit => unit.Length)));
        return [.. _units.Select(unit => View(slots[SlotOf(unit)], 0, unit.Length))];
    }

    private Tensor[] Select(Tensor[] wholes, Func<ParameterUnit, ElementRange> range) =>
        [.. _units.Select((unit, i) => View(wholes[i], range(unit).Start, range(unit).Count))];

    private Tensor Zeros(ScalarType type, long count)
    {
        var tensor = torch.zeros([count], dtype: type, device: _storage.Device ?? torch.CPU).DetachFromDisposeScope();
        _tensors.Add(tensor);
        ByteLength += TensorMemory.ByteLength(tensor);
        return tensor;
    }

    private Tensor View(Tensor whole, long start, long count)
    {
        var view = whole.narrow(0, start, count).DetachFromDisposeScope();
        _tensors.Add(view);
        return view;
    }
}
