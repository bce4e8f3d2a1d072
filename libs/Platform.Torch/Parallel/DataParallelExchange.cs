using Platform.Core.Gangs;
using Platform.Torch.Collectives;
using Platform.Torch.Kernels;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Timelines;
using TorchSharp;

namespace Platform.Torch.Parallel;

/// <summary>What the computation says to the exchange, in its own order.</summary>
public enum ExchangeEvent
{
    /// <summary>A unit's weights are there and about to be used.</summary>
    WeightsUsed,

    /// <summary>A micro-batch's gradients of a unit are complete.</summary>
    GradientsComplete,
}

/// <summary>
/// What the ranks of a data group say to each other about a stage's weights and gradients: sums of gradients, and, where
/// masters or weights are sharded, the weights themselves (ZeRO, Rajbhandari et al. 2020). The stage calls it where a unit's
/// computation begins and ends; collectives run beside the computation of other units.
/// </summary>
/// <remarks>
/// <para>
/// Without sharding of gradients a unit is reduced once per step, after the last micro-batch's backward has added to it, while
/// the backward of the units before it goes on. With it, each micro-batch's gradients are reduced as soon as they are complete
/// and added to the rank's shard.
/// </para>
/// <para>
/// Sharded masters: each unit is gathered once per step, in the order of the forward, which starts as soon as the first unit is
/// there. Sharded weights: a unit is gathered for each forward and each backward, the next one during the computation of this.
/// </para>
/// <para>
/// Sums are formed in rank order whether or not communication overlaps, so the bits are the same; an all-reduce and a
/// reduce-scatter give the same bits too. Used by one thread.
/// </para>
/// </remarks>
public sealed class DataParallelExchange : IDisposable
{
    private readonly ParallelGroups _groups;
    private readonly ParameterStore _store;
    private readonly CommunicationQueue? _queue;
    private readonly int[] _contributions;
    private readonly int[] _expected;
    private readonly Dictionary<int, Gathered> _gathered = [];
    private readonly Dictionary<int, (ParameterUnit Unit, long Number)> _reducing = [];
    private long _lastReduction;

    /// <summary>An exchange for a rank's store.</summary>
    /// <param name="groups">The rank's groups; nobody else uses the data group.</param>
    /// <param name="store">The rank's tensors.</param>
    /// <param name="overlap">False to let the computation wait for each collective.</param>
    public DataParallelExchange(ParallelGroups groups, ParameterStore store, bool overlap = true)
    {
        ArgumentNullException.ThrowIfNull(groups);
        ArgumentNullException.ThrowIfNull(store);
        (_groups, _store) = (groups, store);
        _expected = new int[store.Units.Length];
        _contributions = [.. store.Units.Select(memory => ContributionsPerMicroBatch(store.Layout, memory.Unit))];
        if (groups.Data.Size > 1)
            _queue = new CommunicationQueue(groups.Data, overlap);
    }

    /// <summary>Called on the computing thread with what it does, where order is of interest.</summary>
    public Action<ExchangeEvent, ParameterUnit>? Observer { get; init; }

    /// <summary>Takes how long the computation waits for communication; null for nobody.</summary>
    public StepRecorder? Recorder { get; init; }

    /// <summary>Whether a thread of its own runs.</summary>
    public bool IsRunning => _queue?.IsRunning == true;

    private ZeroStage Zero => _store.Storage.Zero;

    /// <summary>Starts a step whose gradients are the sum over so many micro-batches, the same number on every rank.</summary>
    public void BeginStep(int microBatches)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(microBatches);
        for (var i = 0; i < _expected.Length; i++)
            _expected[i] = _contributions[i] * microBatches;
        if (Zero is not (ZeroStage.OptimizerState or ZeroStage.Gradients))
            return;
        foreach (var memory in _store.Units)
            Gather(memory);
    }

    /// <summary>Returns once a unit's weights are there, and has those of the unit that will be used next gathered meanwhile.</summary>
    public void UseWeights(ParameterUnit unit, ParameterUnit? next)
    {
        ArgumentNullException.ThrowIfNull(unit);
        if (_queue is not null && Zero != ZeroStage.None)
        {
            var memory = _store.Units[unit.Index];
            Gather(memory);
            if (next is not null && _store.Units[next.Index].WeightSlot != memory.WeightSlot)
                Gather(_store.Units[next.Index]);
            Wait(_gathered[memory.WeightSlot].Number, "wait for weights");
        }

        Observer?.Invoke(ExchangeEvent.WeightsUsed, unit);
    }

    /// <summary>Call before a computation adds to a unit's gradients.</summary>
    public void BeginGradients(ParameterUnit unit)
    {
        ArgumentNullException.ThrowIfNull(unit);
        if (Zero >= ZeroStage.Gradients)
            Collect(_store.Units[unit.Index].GradientSlot);
    }

    /// <summary>Call when a micro-batch's computation has added to a unit's gradients all that it will.</summary>
    public void EndGradients(ParameterUnit unit)
    {
        ArgumentNullException.ThrowIfNull(unit);
        Observer?.Invoke(ExchangeEvent.GradientsComplete, unit);
        _expected[unit.Index]--;
        var memory = _store.Units[unit.Index];
        if (Zero >= ZeroStage.Gradients)
            _reducing.Add(memory.GradientSlot, (unit, Reduce(memory)));
        else if (_expected[unit.Index] == 0)
            Reduce(memory);
    }

    /// <summary>
    /// Returns once the gradients of all units are summed over the data group, a tied embedding's over the ends of the pipeline,
    /// and those of which each rank of a tensor group has a part over that group: in <see cref="UnitMemory.GradientSum"/>.
    /// </summary>
    public void FinishGradients()
    {
        if (Zero >= ZeroStage.Gradients)
        {
            foreach (var slot in _reducing.Keys.Order().ToArray())
                Collect(slot);
        }
        else
        {
            // A unit to which nobody announced gradients is reduced all the same.
            foreach (var memory in _store.Units.Where(memory => _expected[memory.Unit.Index] > 0))
                Reduce(memory);
            Array.Clear(_expected);
            Wait(_lastReduction, "wait for gradients");
        }

        if (_groups.TiedEmbedding is { } ends && _store.FindUnit(BundleRole.Embedding, null) is { } embedding)
            ends.AllReduceSum(_store.Units[embedding.Index].GradientSum);
        PartialGradients.Sum(_groups.Tensor, _store);
    }

    /// <summary>
    /// This rank's contribution to the squared norm of the whole gradient: its shard of what it counts, so the sum over all
    /// ranks counts each weight of the model once, in the same order with and without sharding.
    /// </summary>
    public double SquaredNormShare()
    {
        using var withoutGradients = torch.no_grad();
        return _store.Units.Sum(memory => SquaredNorms.Of(_store.Layout, memory));
    }

    /// <inheritdoc/>
    public void Dispose() => _queue?.Dispose();

    /// <summary>How often a micro-batch adds to a unit: once, but twice to an embedding that also is the head of its stage.</summary>
    private static int ContributionsPerMicroBatch(StageLayout layout, ParameterUnit unit) =>
        unit.Role == BundleRole.Embedding && layout.IsFirst && layout.IsLast && layout.Config.TieWordEmbeddings ? 2 : 1;

    /// <summary>Has a unit's weights gathered, unless they are there or on their way.</summary>
    private void Gather(UnitMemory memory)
    {
        if (_queue is null
            || (_gathered.TryGetValue(memory.WeightSlot, out var there) && there.Unit == memory.Unit.Index && there.Version == _store.Version))
            return;
        var (part, whole) = (GroupTensors.BufferOf(memory.WeightShard), GroupTensors.BufferOf(memory.Weights));
        var number = _queue.Enqueue(group => group.AllGather(part, whole));
        _gathered[memory.WeightSlot] = new Gathered(memory.Unit.Index, _store.Version, number);
    }

    private void Wait(long number, string what)
    {
        if (_queue is null || _queue.IsDone(number))
            return;
        if (Recorder is null)
        {
            _queue.Wait(number);
            return;
        }

        using var span = Recorder.Begin(StepPart.Communication, what);
        _queue.Wait(number);
    }

    private long Reduce(UnitMemory memory)
    {
        if (_queue is null)
            return 0;
        var whole = GroupTensors.BufferOf(memory.Gradients);
        var part = whole.Slice(memory.Shard.Start, memory.Shard.Count);
        _lastReduction = Zero == ZeroStage.None
            ? _queue.Enqueue(group => group.AllReduce(whole, ReduceOperation.Sum))
            : _queue.Enqueue(group => group.ReduceScatter(whole, part, ReduceOperation.Sum));
        return _lastReduction;
    }

    /// <summary>Adds what was reduced in a slot to the shard of its unit and empties the slot.</summary>
    private void Collect(int slot)
    {
        if (!_reducing.Remove(slot, out var reduction))
            return;
        Wait(reduction.Number, "wait for gradients");
        using var withoutGradients = torch.no_grad();
        var memory = _store.Units[reduction.Unit.Index];
        using var part = memory.Gradients.narrow(0, memory.Shard.Start, memory.Shard.Count);
        memory.GradientSum.AddInPlace(part);
        memory.Gradients.zero_();
    }

    private readonly record struct Gathered(int Unit, long Version, long Number);
}

/// <summary>Squared norms of gradients.</summary>
internal static class SquaredNorms
{
    /// <summary>Of a rank's shard of a unit, as far as the rank counts its elements.</summary>
    public static double Of(StageLayout layout, UnitMemory memory)
    {
        double sum = 0;
        foreach (var range in CountedRanges(layout, memory.Unit).Select(range => range.Intersect(memory.Shard)))
        {
            if (range.Count == 0)
                continue;
            using var part = memory.View(StateKind.Gradient, range);
            sum += part.device_type == DeviceType.CPU ? SquaredNormKernel.Of(part) : OfDevice(part);
        }

        return sum;
    }

    /// <summary>In blocks, so that the fp64 copy stays small.</summary>
    private static double OfDevice(torch.Tensor part)
    {
        const long block = 4 << 20;
        double sum = 0;
        for (var done = 0L; done < part.numel(); done += block)
        {
            using var some = part.narrow(0, done, Math.Min(block, part.numel() - done));
            using var exact = some.to_type(torch.ScalarType.Float64);
            using var dot = exact.dot(exact);
            sum += dot.item<double>();
        }

        return sum;
    }

    /// <summary>Ranges of a unit that the rank counts, neighbours joined over the gaps, which are zero.</summary>
    private static IEnumerable<ElementRange> CountedRanges(StageLayout layout, ParameterUnit unit)
    {
        var range = new ElementRange(0, 0);
        foreach (var entry in unit.Entries.Where(entry => layout.Owns(entry.Bundle)))
        {
            if (entry.Offset - range.End is >= 0 and < ParameterUnit.AlignmentElements)
            {
                range = new ElementRange(range.Start, entry.Offset + entry.Bundle.ElementCount - range.Start);
                continue;
            }

            if (range.Count > 0)
                yield return range;
            range = new ElementRange(entry.Offset, entry.Bundle.ElementCount);
        }

        if (range.Count > 0)
            yield return range;
    }
}
