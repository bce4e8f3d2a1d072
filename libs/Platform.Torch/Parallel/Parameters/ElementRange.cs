namespace Platform.Torch.Parallel.Parameters;

/// <summary>Consecutive elements.</summary>
/// <param name="Start">First of them.</param>
/// <param name="Count">How many; none or more.</param>
public readonly record struct ElementRange(long Start, long Count)
{
    /// <summary>One past the last.</summary>
    public long End => Start + Count;

    /// <summary>The elements of both; empty where there are none.</summary>
    public ElementRange Intersect(ElementRange other)
    {
        var start = Math.Max(Start, other.Start);
        return new ElementRange(start, Math.Max(0, Math.Min(End, other.End) - start));
    }
}
