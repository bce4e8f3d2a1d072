namespace Platform.Worker.Agent.Adapters;

/// <summary>
/// The time of the agent's decisions: wall time at the start plus monotonic time since, so that a corrected wall
/// clock can neither lengthen nor cut a lease.
/// </summary>
internal sealed class MonotonicClock(TimeProvider time)
{
    private readonly DateTimeOffset _start = time.GetUtcNow();
    private readonly long _timestamp = time.GetTimestamp();

    public DateTimeOffset Now => _start + time.GetElapsedTime(_timestamp);
}
