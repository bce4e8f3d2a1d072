namespace Platform.Torch.Kernels;

/// <summary>Sizes of one attention call.</summary>
/// <param name="Batch">Sequences.</param>
/// <param name="Heads">Query heads.</param>
/// <param name="SharedHeads">Key/value heads.</param>
/// <param name="Length">Positions.</param>
/// <param name="Size">Elements of a head.</param>
internal readonly record struct AttentionShape(int Batch, int Heads, int SharedHeads, int Length, int Size)
{
    /// <summary>Query heads per key/value head.</summary>
    public int Group => Heads / SharedHeads;

    /// <summary>Factor on the scores.</summary>
    public float Scale => (float)(1 / Math.Sqrt(Size));

    /// <summary>Positions, rounded up to whole tiles and key steps.</summary>
    public int PaddedLength => (Length + AttentionTiles.Keys - 1) / AttentionTiles.Keys * AttentionTiles.Keys;

    /// <summary>Memory that a key/value head needs: nine matrices of all positions, two rows of tiles and one tile.</summary>
    public int ScratchElements => checked((9 * PaddedLength * Size) + (2 * AttentionTiles.Rows * PaddedLength) + (AttentionTiles.Rows * Size));

    /// <summary>The tile of queries at a position: its rows, the keys its last row sees, and those rounded up to whole steps.</summary>
    public (int Count, int Seen, int PaddedKeys) TileAt(int first)
    {
        var count = Math.Min(AttentionTiles.Rows, Length - first);
        var seen = first + count;
        return (count, seen, (seen + AttentionTiles.Keys - 1) / AttentionTiles.Keys * AttentionTiles.Keys);
    }
}
