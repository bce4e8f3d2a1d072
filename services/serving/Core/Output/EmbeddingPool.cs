namespace Platform.Serving.Core.Output;

/// <summary>Which hidden states make an embedding.</summary>
public enum Pooling
{
    /// <summary>Their mean over all tokens.</summary>
    Mean,

    /// <summary>The last token's.</summary>
    Last,
}

/// <summary>
/// Gathers the hidden states of one input, in the order of its tokens, into a vector of length 1. The input may come in parts and
/// may begin anew.
/// </summary>
/// <param name="pooling">Which states count.</param>
/// <param name="width">Numbers of a state.</param>
public sealed class EmbeddingPool(Pooling pooling, int width)
{
    private readonly double[] _sums = new double[width];
    private int _count;

    /// <summary>Forgets everything, for an input that is computed again from its beginning.</summary>
    public void Restart()
    {
        Array.Clear(_sums);
        _count = 0;
    }

    /// <summary>Takes the next token's state.</summary>
    public void Add(ReadOnlySpan<float> state)
    {
        if (pooling == Pooling.Last)
            Restart();
        for (var i = 0; i < width; i++)
            _sums[i] += state[i];
        _count++;
    }

    /// <summary>The embedding.</summary>
    /// <exception cref="InvalidOperationException">No state was taken.</exception>
    public float[] Result()
    {
        if (_count == 0)
            throw new InvalidOperationException("An embedding needs at least one token.");
        var length = Math.Sqrt(_sums.Sum(sum => sum * sum));
        return [.. _sums.Select(sum => (float)(length > 0 ? sum / length : 0))];
    }
}
