namespace Platform.Torch.Kernels;

/// <summary>What the backward of attention reads and writes.</summary>
internal readonly unsafe record struct BackwardHeads(
    HeadRows Query, HeadRows Key, HeadRows Value, HeadRows Result, HeadRows Gradient,
    HeadRows QueryGradient, HeadRows KeyGradient, HeadRows ValueGradient, nint LogSumsAddress)
{
    public BackwardHeads(
        HeadRows query, HeadRows key, HeadRows value, HeadRows result, HeadRows gradient,
        HeadRows queryGradient, HeadRows keyGradient, HeadRows valueGradient, float* logSums)
        : this(query, key, value, result, gradient, queryGradient, keyGradient, valueGradient, (nint)logSums)
    {
    }

    public float* LogSums => (float*)LogSumsAddress;
}
