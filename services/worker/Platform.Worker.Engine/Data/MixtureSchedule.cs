namespace Platform.Worker.Engine.Data;

/// <summary>
/// Which shard each position of a run draws from, and how many positions before it drew from the same: a function of the
/// weights and the position alone. Shards take turns as evenly as their weights allow: after any number of positions, two
/// shards have been drawn from within one sequence of their shares, more of them within one per shard.
/// </summary>
/// <remarks>
/// Of n positions the first shard gets round(n·w₁); those it leaves are numbered anew and divided among the others alike. Shares
/// are whole multiples of 2⁻³², so that counts are exact however long a run is.
/// </remarks>
public sealed class MixtureSchedule
{
    private const int FractionBits = 32;
    private readonly ulong[] _shares;

    /// <summary>A schedule over shards of given weights.</summary>
    /// <param name="weights">Weight of each shard, above zero.</param>
    public MixtureSchedule(IReadOnlyList<double> weights)
    {
        ArgumentNullException.ThrowIfNull(weights);
        ArgumentOutOfRangeException.ThrowIfZero(weights.Count, nameof(weights));
        _shares = new ulong[weights.Count - 1];
        for (var i = 0; i < _shares.Length; i++)
            _shares[i] = (ulong)Math.Round(weights[i] / weights.Skip(i).Sum() * (1UL << FractionBits));
    }

    /// <summary>The shard of a position, and the number of positions before it that drew from that shard.</summary>
    /// <param name="position">Position in the run, from 0.</param>
    public (int Shard, long Index) At(long position)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        var rest = (ulong)position;
        for (var i = 0; i < _shares.Length; i++)
        {
            var before = Taken(rest, _shares[i]);
            if (Taken(rest + 1, _shares[i]) > before)
                return (i, (long)before);
            rest -= before;
        }

        return (_shares.Length, (long)rest);
    }

    private static ulong Taken(ulong positions, ulong share) =>
        (ulong)((((UInt128)positions * share) + (1UL << (FractionBits - 1))) >> FractionBits);
}
