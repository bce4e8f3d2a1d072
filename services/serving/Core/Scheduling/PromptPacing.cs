namespace Platform.Serving.Core.Scheduling;

/// <summary>
/// Decides how many prompt tokens an iteration may take on while streams are running, so that its predicted time stays
/// within a multiple of the median time of iterations without prompts. Without running streams nobody has to be spared.
/// The price of a prompt token is a line over the context it attends to, fitted to the last chunks; what chunks took beyond
/// their prediction is kept as a reserve. Allocates nothing while it works.
/// </summary>
public sealed class PromptPacing
{
    // Streams grow dearer with their contexts while a long prompt is admitted, so only the newest measurements count.
    private const int Newest = 9;

    // What they took over a longer time is what a prompt may delay them by a multiple of.
    private const int Window = 65;
    private const int Chunks = 96;

    // Chunks whose size a new one may exceed, at most twofold: prices are known near them and guessed far from them.
    private const int RecentChunks = 16;
    private const int FirstChunk = 16;

    // Beside a long prompt one iteration in so many goes without, so that the median stays known.
    private const int ProbeInterval = 8;

    // What is aimed at, of what is allowed, besides what the last chunks exceeded their predictions by.
    private const double Caution = 0.9;
    private const double ReserveQuantile = 0.9;
    private const double LargestReserve = 1.6;

    // A chunk that something else disturbed says little about its price.
    private const double Disturbed = 2;

    private readonly double _multiple;
    private readonly int _fewest;
    private readonly int _most;
    private readonly double[] _streamSeconds = new double[Window];
    private readonly double[] _sorted = new double[Math.Max(Window, Chunks)];
    private readonly Chunk[] _chunks = new Chunk[Chunks];
    private long _streamCount;
    private long _chunkCount;
    private int _sinceStreams = ProbeInterval;
    private double? _alonePerToken;
    private double _base, _slope, _reserve = 1;

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

    private readonly record struct Chunk(int Tokens, double Context, double PerToken, double Excess);

    /// <summary>Median time of the last iterations without prompts; null before the first.</summary>
    public double? MedianStreamSeconds { get; private set; }

    /// <summary>Median time of the newest of them: what the streams are expected to take next.</summary>
    private double NewestStreamSeconds { get; set; }

    /// <summary>Prompt tokens the next iteration may take.</summary>
    /// <param name="streams">Sequences that are producing tokens.</param>
    /// <param name="context">Tokens that precede the prompt's next one.</param>
    public int Budget(int streams, int context)
    {
        if (streams == 0)
            return _most;
        // A single token costs what a stream's does, so an iteration with one measures the streams.
        if (MedianStreamSeconds is not { } median || _sinceStreams >= ProbeInterval)
            return 1;
        var largest = LargestRecentChunk();
        if (largest == 0 && _alonePerToken is null)
            return _fewest;
        var room = (_multiple * Caution / _reserve * Math.Min(median, NewestStreamSeconds)) - NewestStreamSeconds;
        var limit = Math.Min(_most, Math.Max(FirstChunk, 2 * largest));
        // Whole multiples of the fewest: attention works on tiles of so many rows, and a part of one costs as much.
        return room <= 0 ? _fewest : Math.Clamp(WithinRoom(room, context) / _fewest * _fewest, _fewest, Math.Max(_fewest, limit));
    }

    /// <summary>How long an iteration with streams and a chunk of a prompt is expected to take; null when nothing is known.</summary>
    /// <param name="promptTokens">Tokens of the chunk.</param>
    /// <param name="pairs">Sum over its tokens of the tokens each attends to.</param>
    public double? Predict(int promptTokens, long pairs) => _streamCount == 0
        ? null
        : promptTokens == 0 ? NewestStreamSeconds
        : _chunkCount == 0 ? NewestStreamSeconds + (promptTokens * _alonePerToken)
        : NewestStreamSeconds + (_base * promptTokens) + (_slope * pairs);

    /// <summary>Takes note of an iteration.</summary>
    /// <param name="streams">Tokens of running streams in it.</param>
    /// <param name="promptTokens">Prompt tokens in it.</param>
    /// <param name="pairs">Sum over the prompt tokens of the tokens each attends to.</param>
    /// <param name="seconds">How long it took.</param>
    public void Record(int streams, int promptTokens, long pairs, double seconds)
    {
        if (promptTokens == 0)
        {
            _streamSeconds[_streamCount++ % Window] = seconds;
            _sinceStreams = 0;
            MedianStreamSeconds = MedianOfLast(Window);
            NewestStreamSeconds = MedianOfLast(Newest);
        }
        else if (streams == 0)
        {
            // Reading the weights is part of it, so this is rather too high: a good first guess.
            _alonePerToken = seconds / promptTokens;
        }
        else
        {
            _sinceStreams++;
            if (_streamCount > 0)
                Add(promptTokens, pairs, seconds);
        }
    }

    private void Add(int tokens, long pairs, double seconds)
    {
        var predicted = Predict(tokens, pairs) ?? seconds;
        var believed = _chunkCount >= RecentChunks ? Math.Min(seconds, Disturbed * predicted) : seconds;
        _chunks[_chunkCount++ % Chunks] = new(
            tokens, (double)pairs / tokens, Math.Max(0, believed - NewestStreamSeconds) / tokens, seconds / predicted);
        Fit();
        var known = (int)Math.Min(_chunkCount, Chunks);
        for (var i = 0; i < known; i++)
            _sorted[i] = _chunks[i].Excess;
        Array.Sort(_sorted, 0, known);
        _reserve = Math.Clamp(_sorted[(int)((known - 1) * ReserveQuantile)], 1, LargestReserve);
    }

    /// <summary>Least squares of a token's price over its context, weighted by tokens; neither base nor slope is negative.</summary>
    private void Fit()
    {
        var known = (int)Math.Min(_chunkCount, Chunks);
        double weight = 0, context = 0, price = 0;
        for (var i = 0; i < known; i++)
        {
            weight += _chunks[i].Tokens;
            context += _chunks[i].Tokens * _chunks[i].Context;
            price += _chunks[i].Tokens * _chunks[i].PerToken;
        }

        (context, price) = (context / weight, price / weight);
        double spread = 0, together = 0;
        for (var i = 0; i < known; i++)
        {
            var distance = _chunks[i].Context - context;
            spread += _chunks[i].Tokens * distance * distance;
            together += _chunks[i].Tokens * distance * (_chunks[i].PerToken - price);
        }

        _slope = spread > 0 ? Math.Clamp(together / spread, 0, context > 0 ? price / context : 0) : 0;
        _base = price - (_slope * context);
    }

    /// <summary>The largest n with <c>n·base + n·(context + n/2)·slope</c> within the room.</summary>
    private int WithinRoom(double room, int context)
    {
        var (linear, square) = _chunkCount == 0
            ? (_alonePerToken ?? double.MaxValue, 0)
            : (_base + (_slope * context), _slope / 2);
        var tokens = square > 0
            ? (Math.Sqrt((linear * linear) + (4 * square * room)) - linear) / (2 * square)
            : linear > 0 ? room / linear : _most;
        return (int)Math.Min(tokens, _most);
    }

    private int LargestRecentChunk()
    {
        var largest = 0;
        for (var i = Math.Max(0L, _chunkCount - RecentChunks); i < _chunkCount; i++)
            largest = Math.Max(largest, _chunks[i % Chunks].Tokens);
        return largest;
    }

    private double MedianOfLast(int count)
    {
        count = (int)Math.Min(count, _streamCount);
        for (var i = 0; i < count; i++)
            _sorted[i] = _streamSeconds[(_streamCount - 1 - i) % Window];
        Array.Sort(_sorted, 0, count);
        return _sorted[count / 2];
    }
}
