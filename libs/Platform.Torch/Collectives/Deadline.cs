using System.Diagnostics;

namespace Platform.Torch.Collectives;

/// <summary>A moment on the monotonic clock that a wait must not outlast.</summary>
internal readonly struct Deadline
{
    private readonly long end;

    private Deadline(long end) => this.end = end;

    public static Deadline After(TimeSpan timeout) =>
        new(Stopwatch.GetTimestamp() + (long)(timeout.TotalSeconds * Stopwatch.Frequency));

    public TimeSpan Remaining
    {
        get
        {
            var left = end - Stopwatch.GetTimestamp();
            return left <= 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(left / (double)Stopwatch.Frequency);
        }
    }

    public bool Expired => Stopwatch.GetTimestamp() >= end;

    /// <summary>Milliseconds to wait now: what remains, at most <paramref name="slice"/>, at least 1.</summary>
    public int Milliseconds(int slice) => (int)Math.Clamp(Math.Ceiling(Remaining.TotalMilliseconds), 1, slice);
}
