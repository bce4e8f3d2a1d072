using System.Text;

namespace Platform.Serving.Core.Output;

/// <summary>
/// Watches a stream of text for stop strings. Text leaves it only when it can no longer be the beginning of one, so a client
/// never sees any part of a stop string. The match that begins earliest ends the text.
/// </summary>
public sealed class StopStringMatcher
{
    private readonly string[] _stops;
    private readonly StringBuilder _held = new();

    /// <summary>A matcher for these strings.</summary>
    /// <exception cref="ArgumentException">One of them is empty.</exception>
    public StopStringMatcher(IReadOnlyCollection<string> stops)
    {
        ArgumentNullException.ThrowIfNull(stops);
        if (stops.Any(string.IsNullOrEmpty))
            throw new ArgumentException("A stop string is empty.", nameof(stops));
        _stops = [.. stops];
    }

    /// <summary>Whether a stop string was found; nothing is taken in any more.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Takes text in and returns what may be shown.</summary>
    public string Push(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (IsStopped || text.Length == 0)
            return "";
        if (_stops.Length == 0)
            return text;
        _held.Append(text);
        var held = _held.ToString();
        var safe = held.Length;
        for (var start = 0; start < held.Length; start++)
        {
            var rest = held.AsSpan(start);
            foreach (var stop in _stops)
            {
                if (rest.StartsWith(stop, StringComparison.Ordinal))
                    return Stop(held[..start]);
                if (safe == held.Length && stop.AsSpan().StartsWith(rest, StringComparison.Ordinal))
                    safe = start;
            }

            // A longer match may yet begin here; anything later must wait for it.
            if (safe == start)
                break;
        }

        _held.Clear().Append(held, safe, held.Length - safe);
        return held[..safe];
    }

    /// <summary>Returns the text held back, at the end of the stream; it may turn out to hold a stop string.</summary>
    public string Flush()
    {
        if (IsStopped)
            return "";
        var held = _held.ToString();
        for (var start = 0; start < held.Length; start++)
        {
            if (Array.Exists(_stops, stop => held.AsSpan(start).StartsWith(stop, StringComparison.Ordinal)))
                return Stop(held[..start]);
        }

        _held.Clear();
        return held;
    }

    private string Stop(string shown)
    {
        IsStopped = true;
        _held.Clear();
        return shown;
    }
}
