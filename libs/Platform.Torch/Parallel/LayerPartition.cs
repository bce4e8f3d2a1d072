namespace Platform.Torch.Parallel;

/// <summary>The decoder layers of one pipeline stage.</summary>
/// <param name="First">First layer, from 0.</param>
/// <param name="Count">Number of consecutive layers.</param>
public readonly record struct StageLayers(int First, int Count)
{
    /// <summary>One past the last layer.</summary>
    public int End => First + Count;
}

/// <summary>Division of a model's layers into pipeline stages.</summary>
public static class LayerPartition
{
    /// <summary>
    /// Layers of one stage. If they do not divide, the first stages have one more: the last one also has the head, which
    /// costs about as much as a layer or several.
    /// </summary>
    /// <exception cref="ArgumentException">There are more stages than layers.</exception>
    public static StageLayers Of(int layers, int stages, int stage)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(stages);
        ArgumentOutOfRangeException.ThrowIfNegative(stage);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(stage, stages);
        if (layers < stages)
            throw new ArgumentException($"{layers} layers cannot be divided into {stages} stages.", nameof(layers));
        var (each, more) = (layers / stages, layers % stages);
        return new StageLayers((stage * each) + Math.Min(stage, more), each + (stage < more ? 1 : 0));
    }
}
