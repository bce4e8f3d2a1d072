using Platform.Core.Jobs;
using Platform.Torch.Cuda;
using Platform.Torch.Parallel;

namespace Platform.Worker.Engine.Data;

/// <summary>A sequence of a data set.</summary>
/// <param name="Shard">Which of its shards.</param>
/// <param name="Index">Which sequence of the shard.</param>
public readonly record struct SequenceId(int Shard, int Index);

/// <summary>
/// The sequences of a data set in the order in which a job trains on them. The order is a function of the seed and the position
/// alone; a rank takes its part of a step's positions, so any data-parallel width sees the same batches.
/// </summary>
/// <remarks>Does not own the files. Used by one thread.</remarks>
public sealed class TrainingData
{
    private const int MostHeldOut = 256;

    private readonly IReadOnlyList<TokenFile> _shards;
    private readonly DataOrder[] _orders;
    private readonly MixtureSchedule _mixture;
    private readonly int _length;
    private readonly int _globalBatch;

    /// <summary>Orders a data set.</summary>
    /// <param name="spec">Length of sequences, held-out share, mixture, seed and batch.</param>
    /// <param name="shards">Its shards: one, or one per source of the mixture.</param>
    /// <exception cref="InputUnreadableException">A shard is too short to train on.</exception>
    public TrainingData(TrainingJobSpec spec, IReadOnlyList<TokenFile> shards)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(shards);
        var mixture = spec.Data.Mixture;
        if (shards.Count != Math.Max(1, mixture.Count))
            throw new ArgumentException($"A mixture of {mixture.Count} sources does not fit {shards.Count} shards.", nameof(shards));
        (_shards, _length, _globalBatch) = (shards, spec.Data.SequenceLength, spec.Training.GlobalBatchSize);
        _mixture = new MixtureSchedule(mixture.Count == 0 ? [1] : [.. mixture.Select(entry => entry.Weight)]);
        _orders = [.. shards.Select((shard, i) => OrderOf(spec, shard, i))];
        HeldOut = [.. ChooseHeldOut()];
    }

    /// <summary>Sequences to evaluate, at most 256, in the proportions of the mixture; none of them is trained on.</summary>
    public IReadOnlyList<SequenceId> HeldOut { get; }

    /// <summary>Sequences of a step, in order; a rank takes a consecutive part of them.</summary>
    /// <param name="step">Step, from 1.</param>
    public SequenceId[] GlobalBatch(int step)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(step);
        var first = (step - 1L) * _globalBatch;
        return [.. Enumerable.Range(0, _globalBatch).Select(i => At(first + i))];
    }

    /// <summary>The sequence at a position of the run.</summary>
    /// <param name="position">Position, from 0.</param>
    public SequenceId At(long position)
    {
        var (shard, index) = _mixture.At(position);
        return new SequenceId(shard, _orders[shard].At(index));
    }

    /// <summary>Number of tokens of sequences whose loss counts.</summary>
    public long Counted(ReadOnlySpan<SequenceId> sequences)
    {
        long count = 0;
        foreach (var (shard, index) in sequences)
            count += _shards[shard].Counted(index, _length);
        return count;
    }

    /// <summary>The tokens of sequences, in the caller's dispose scope.</summary>
    /// <param name="sequences">Sequences of the data.</param>
    /// <param name="device">Where the tokens are wanted.</param>
    /// <param name="staging">Brings them there without waiting; null on the CPU.</param>
    public MicroBatch Load(ReadOnlySpan<SequenceId> sequences, TorchSharp.torch.Device device, PinnedStaging? staging)
    {
        var (tokens, targets) = (new long[sequences.Length * _length], new long[sequences.Length * _length]);
        for (var i = 0; i < sequences.Length; i++)
            _shards[sequences[i].Shard].Read(sequences[i].Index, tokens.AsSpan(i * _length, _length), targets.AsSpan(i * _length, _length));
        return MicroBatch.Create(tokens, targets, sequences.Length, device, staging);
    }

    private static DataOrder OrderOf(TrainingJobSpec spec, TokenFile shard, int index)
    {
        try
        {
            // Shards of one length must not be shuffled alike.
            var seed = unchecked(spec.Training.Seed + (index * (long)0x9e3779b97f4a7c15));
            return new DataOrder(seed, shard.Sequences(spec.Data.SequenceLength), spec.Data.EvalFraction, spec.Training.GlobalBatchSize);
        }
        catch (ArgumentException refused)
        {
            var source = spec.Data.Mixture.Count == 0 ? "" : $"{spec.Data.Mixture[index].Source}: ";
            throw new InputUnreadableException(
                $"data.source: {source}{shard.Count} tokens are too few for sequences of {spec.Data.SequenceLength}.", refused);
        }
    }

    private IEnumerable<SequenceId> ChooseHeldOut()
    {
        var left = Math.Min(MostHeldOut, _orders.Sum(order => order.HeldOut.Count));
        for (var position = 0L; left > 0 && position < MostHeldOut * 64L; position++)
        {
            var (shard, index) = _mixture.At(position);
            if (index >= _orders[shard].HeldOut.Count)
                continue;
            yield return new SequenceId(shard, _orders[shard].HeldOut[(int)index]);
            left--;
        }
    }
}
