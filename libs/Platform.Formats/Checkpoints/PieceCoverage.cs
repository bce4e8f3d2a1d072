namespace Platform.Formats.Checkpoints;

/// <summary>Whether pieces make a whole tensor.</summary>
internal static class PieceCoverage
{
    private const int MaxPieces = 1 << 16;

    /// <summary>
    /// What is wrong with a tensor's pieces, or null. They are whole when each lies inside the tensor, no two share an
    /// element, and their elements are as many as the tensor's.
    /// </summary>
    internal static string? Problem(string name, CheckpointTensor tensor)
    {
        long total, covered = 0;
        if (tensor.Pieces.Count > MaxPieces)
        {
            return $"{name}: {tensor.Pieces.Count} pieces; at most {MaxPieces} are allowed";
        }
        try
        {
            _ = tensor.Shape.ByteLength(tensor.DataType);
            total = tensor.Shape.ElementCount();
            foreach (var piece in tensor.Pieces)
            {
                if (!piece.Box.Fits(tensor.Shape))
                {
                    return $"{name}: the piece at {piece.Start} of shape {piece.Shape} in {piece.Shard} lies outside the tensor's shape {tensor.Shape}";
                }
                covered = checked(covered + piece.Shape.ElementCount());
            }
        }
        catch (OverflowException)
        {
            return $"{name}: shape {tensor.Shape} exceeds 64-bit sizes";
        }
        if (Overlap(tensor) is { } overlap)
        {
            return $"{name}: the pieces at {overlap.First.Start} in {overlap.First.Shard} and at {overlap.Second.Start} in {overlap.Second.Shard} overlap";
        }
        return covered == total ? null : $"{name}: the pieces hold {covered} of {total} elements: some are missing";
    }

    /// <summary>Sorted by their start in the first dim, only neighbours that reach into each other there can overlap.</summary>
    private static (CheckpointPiece First, CheckpointPiece Second)? Overlap(CheckpointTensor tensor)
    {
        if (tensor.Shape.Count == 0)
        {
            return tensor.Pieces.Count > 1 ? (tensor.Pieces[0], tensor.Pieces[1]) : null;
        }
        var sorted = tensor.Pieces.OrderBy(piece => piece.Start[0]).ToList();
        for (var i = 0; i < sorted.Count; i++)
        {
            var end = sorted[i].Start[0] + sorted[i].Shape[0];
            for (var j = i + 1; j < sorted.Count && sorted[j].Start[0] < end; j++)
            {
                if (sorted[i].Box.Intersect(sorted[j].Box) is not null)
                {
                    return (sorted[i], sorted[j]);
                }
            }
        }
        return null;
    }
}
