namespace Platform.Torch.Models.Llama;

/// <summary>
/// A sequence of independent numbers, uniform in [−1, 1), in which each element is a function of the key and its index alone,
/// like <see cref="NormalStream"/>: the top 53 bits of SplitMix64's i-th output.
/// </summary>
public readonly struct UniformStream
{
    private readonly ulong _key;

    /// <summary>The stream of a seed and a name.</summary>
    public UniformStream(long seed, string name) => _key = NormalStream.KeyOf(seed, name);

    /// <summary>Fills a span with elements from <paramref name="first"/> on, each times <paramref name="scale"/>.</summary>
    public void Fill(Span<double> destination, long first, double scale)
    {
        for (var i = 0; i < destination.Length; i++)
            destination[i] = At((ulong)(first + i)) * scale;
    }

    /// <summary>The same elements, rounded to single precision.</summary>
    public void Fill(Span<float> destination, long first, double scale)
    {
        for (var i = 0; i < destination.Length; i++)
            destination[i] = (float)(At((ulong)(first + i)) * scale);
    }

    private double At(ulong index) => ((NormalStream.BitsOf(_key, index) >> 11) * (2.0 / (1UL << 53))) - 1;
}
