namespace Platform.Serving.Core.Scheduling;

/// <summary>
/// Decides how many prompt tokens an iteration may take on while streams are running, so that its predicted time stays
/// within a multiple of the median time of iterations without prompts. Without running streams nobody has to be spared.
/// </summary>
public sealed class PromptPacing
{
    private const int Window = 33;
    private const double Smoothing = 0.3;

    // What is aimed at, of what is allowed: the clock of a shared machine is not exact.
    private const double Caution = 0.8;

    private readonly double _multiple;
    private readonly int _fewest;
    private readonly int _most;
    private readonly Queue<double> _streamSeconds = new(Window);
    private double? _secondsPerToken;

    /// <summary>A pacing that has seen nothing yet.</summary>
    /// <param name="multiple">Longest iteration relative to the median; above 1.</param>
    /// <param name="fewest">Prompt tokens an iteration always may take, so that prompts advance.</param>
    /// <param name="most">Most prompt tokens of an iteration.</param>
    public PromptPacing(double multiple, int fewest, int most)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(multiple, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(fewest, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(most, fewest);
        (_multiple, _fewest, _most) = (multiple, fewest, most);
    }

    /// <summary>Median time of the last iterations without prompts; null before the first.</summary>
    public double? MedianStreamSeconds =>
        _streamSeconds.Count == 0 ? null : _streamSeconds.Order().ElementAt(_streamSeconds.Count / 2);

    /// <summary>Prompt tokens the next iteration may take.</summary>
    /// <param name="streams">Sequences that are producing tokens.</param>
    public int Budget(int streams)
    {
        if (streams == 0 || MedianStreamSeconds is not { } median || _secondsPerToken is not { } perToken || perToken <= 0)
            return streams == 0 ? _most : Math.Min(_most, Math.Max(_fewest, _most / 8));
        return (int)Math.Clamp(((_multiple * Caution) - 1) * median / perToken, _fewest, _most);
    }

    /// <summary>Takes note of an iteration.</summary>
    /// <param name="streamTokens">Tokens of running streams in it.</param>
    /// <param name="promptTokens">Prompt tokens in it.</param>
    /// <param name="seconds">How long it took.</param>
    public void Record(int streamTokens, int promptTokens, double seconds)
    {
        if (promptTokens == 0)
        {
            if (_streamSeconds.Count == Window)
                _streamSeconds.Dequeue();
            _streamSeconds.Enqueue(seconds);
            return;
        }

        // A prompt of a few tokens says more about the iteration's fixed cost than about the price of a token.
        if (promptTokens < _fewest)
            return;
        var streams = streamTokens == 0 ? 0 : MedianStreamSeconds ?? 0;
        var perToken = Math.Max(0, seconds - streams) / promptTokens;
        // A token grows dearer as its prompt grows longer, so a higher price is believed at once and a lower one slowly.
        _secondsPerToken = _secondsPerToken is { } known && perToken < known ? known + (Smoothing * (perToken - known)) : perToken;
    }
}
