namespace Platform.Worker.Engine.Data;

/// <summary>
/// Which sequences of one shard each step trains on: a function of the seed, the step and the size of the data alone, so every layout and
/// every attempt sees the same batches. Each epoch is a permutation of its own; held-out sequences are in none.
/// </summary>
/// <remarks>Caches one epoch; used by one thread.</remarks>
public sealed class DataOrder
{
    private readonly long _seed;
    private readonly int _globalBatch;
    private readonly int[] _training;
    private int[] _permutation = [];
    private long _epoch = long.MinValue;

    /// <summary>The order over a data set.</summary>
    /// <param name="seed">Seed of the job.</param>
    /// <param name="sequences">Sequences in the data.</param>
    /// <param name="evalFraction">Share of them that is held out, [0, 1).</param>
    /// <param name="globalBatch">Sequences per step.</param>
    /// <exception cref="ArgumentException">Nothing is left to train on.</exception>
    public DataOrder(long seed, int sequences, double evalFraction, int globalBatch)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(globalBatch);
        _seed = seed;
        _globalBatch = globalBatch;
        var all = Enumerable.Range(0, sequences);
        _training = [.. all.Where(i => !IsHeldOut(i, evalFraction))];
        HeldOut = [.. all.Where(i => IsHeldOut(i, evalFraction))];
        if (_training.Length == 0)
            throw new ArgumentException($"{sequences} sequences leave nothing to train on.", nameof(sequences));
    }

    /// <summary>Sequences that are only evaluated, evenly spread over the data.</summary>
    public IReadOnlyList<int> HeldOut { get; }

    /// <summary>Number of sequences that are trained on.</summary>
    public int TrainingCount => _training.Length;

    /// <summary>Sequences of a step, in order; a rank takes a consecutive part of them.</summary>
    /// <param name="step">Step, from 1.</param>
    public int[] GlobalBatch(int step)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(step);
        var batch = new int[_globalBatch];
        var position = (step - 1L) * _globalBatch;
        for (var i = 0; i < batch.Length; i++)
            batch[i] = At(position + i);
        return batch;
    }

    /// <summary>The sequence at a position of the run.</summary>
    /// <param name="position">Position, from 0.</param>
    public int At(long position)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        var epoch = position / _training.Length;
        if (epoch != _epoch)
        {
            _permutation = Shuffle(epoch);
            _epoch = epoch;
        }

        return _permutation[position % _training.Length];
    }

    private static bool IsHeldOut(int index, double fraction) => Math.Floor((index + 1) * fraction) > Math.Floor(index * fraction);

    /// <summary>Fisher and Yates's shuffle with SplitMix64, so that the order does not depend on the runtime's own generator.</summary>
    private int[] Shuffle(long epoch)
    {
        var order = (int[])_training.Clone();
        var state = Mix(Mix((ulong)_seed) + (ulong)epoch);
        for (var i = order.Length - 1; i > 0; i--)
        {
            state += 0x9e3779b97f4a7c15;
            var j = (int)Math.BigMul(Mix(state), (ulong)(i + 1), out _);
            (order[i], order[j]) = (order[j], order[i]);
        }

        return order;
    }

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
}
