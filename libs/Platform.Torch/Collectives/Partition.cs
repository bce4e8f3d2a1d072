namespace Platform.Torch.Collectives;

/// <summary>How a run of elements is divided among ranks that reduce it together: nearly even, cut at multiples of 64 elements.</summary>
internal static class Partition
{
    private const long Grain = 64;

    /// <summary>Below this many bytes read in all, every rank reduces the whole for itself, which saves a round.</summary>
    public const long WholeBytes = 128 << 10;

    public static (long Start, long Count) Part(long count, int rank, int ranks)
    {
        var grains = (count + Grain - 1) / Grain;
        var perRank = (grains + ranks - 1) / ranks * Grain;
        var start = Math.Min(count, rank * perRank);
        return (start, Math.Min(count, start + perRank) - start);
    }
}
