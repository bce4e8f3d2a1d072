using Platform.Core.Gangs;

namespace Platform.Torch.Timelines;

/// <summary>
/// Where a rank's time goes. Spans nest on the rank's own thread, and a span's time counts for its part without that of the
/// spans inside it. Spans on other threads, which hide communication behind computation, are shown on the timeline and count
/// for nothing: what is not hidden is what the rank's own thread waits for.
/// </summary>
/// <remarks>A span costs two readings of the clock. The events of the last steps are kept.</remarks>
public sealed class StepRecorder
{
    private const int MostEventsPerStep = 20_000;

    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private readonly int _keptSteps;
    private readonly int _owner = Environment.CurrentManagedThreadId;
    private readonly Stack<OpenSpan> _open = new();
    private readonly long[] _ticks = new long[StepParts.Count];
    private readonly Queue<List<TimelineEvent>> _kept = new();
    private readonly Dictionary<int, int> _lanes = [];
    private List<TimelineEvent> _current = [];
    private long _periodStart;
    private long _covered;
    private long _sentBytes;
    private int _step;

    /// <summary>A recorder of the calling thread.</summary>
    /// <param name="keptSteps">Steps whose events are kept.</param>
    /// <param name="time">Its clock.</param>
    public StepRecorder(int keptSteps, TimeProvider time)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(keptSteps);
        ArgumentNullException.ThrowIfNull(time);
        (_keptSteps, _time) = (keptSteps, time);
        _periodStart = time.GetTimestamp();
    }

    /// <summary>A recorder of the calling thread, by the system's clock.</summary>
    /// <param name="keptSteps">Steps whose events are kept.</param>
    public StepRecorder(int keptSteps)
        : this(keptSteps, TimeProvider.System)
    {
    }

    /// <summary>Called at the beginning and end of each span on the rank's own thread.</summary>
    public Action? AtEdges { get; set; }

    /// <summary>Bytes sent by collectives and messages since the recorder was made, by the volume that a ring needs.</summary>
    public long SentBytes => Interlocked.Read(ref _sentBytes);

    /// <summary>The kept events, oldest step first.</summary>
    public IReadOnlyList<TimelineEvent> Events()
    {
        lock (_gate)
            return [.. _kept.SelectMany(step => step), .. _current];
    }

    /// <summary>Begins a span, which its disposal ends.</summary>
    /// <param name="part">What its time counts as.</param>
    /// <param name="name">What is done.</param>
    /// <param name="microBatch">Micro-batch; null for that of the span around it.</param>
    /// <param name="bytes">Bytes that it moves.</param>
    public RecordedSpan Begin(StepPart part, string name, int? microBatch = null, long bytes = 0)
    {
        if (bytes > 0)
            Interlocked.Add(ref _sentBytes, bytes);
        if (Environment.CurrentManagedThreadId != _owner)
            return new RecordedSpan(this, new OpenSpan(part, name, microBatch, bytes, _time.GetTimestamp()), true);
        AtEdges?.Invoke();
        var span = new OpenSpan(
            part, name, microBatch ?? (_open.TryPeek(out var around) ? around.MicroBatch : null), bytes, _time.GetTimestamp());
        _open.Push(span);
        return new RecordedSpan(this, span, false);
    }

    /// <summary>A step begins; its events are kept together.</summary>
    public void BeginStep(int step)
    {
        lock (_gate)
        {
            _step = step;
            _kept.Enqueue(_current);
            _current = [];
            while (_kept.Count > _keptSteps - 1)
                _kept.Dequeue();
        }
    }

    /// <summary>
    /// Seconds by part since the last call, or since the recorder was made, into <paramref name="seconds"/>; what no span
    /// covers is <see cref="StepPart.Other"/>. Call it outside of spans.
    /// </summary>
    /// <param name="seconds"><see cref="StepParts.Count"/> values in the order of <see cref="StepPart"/>.</param>
    public void TakePeriod(Span<double> seconds)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(seconds.Length, StepParts.Count);
        var now = _time.GetTimestamp();
        _ticks[(int)StepPart.Other] += Math.Max(0, now - _periodStart - _covered);
        for (var i = 0; i < seconds.Length; i++)
            seconds[i] = _ticks[i] / (double)_time.TimestampFrequency;
        Array.Clear(_ticks);
        (_periodStart, _covered) = (now, 0);
    }

    private void End(OpenSpan span, bool isBackground)
    {
        var end = _time.GetTimestamp();
        var duration = end - span.Start;
        if (isBackground)
        {
            lock (_gate)
            {
                var thread = Environment.CurrentManagedThreadId;
                if (!_lanes.TryGetValue(thread, out var lane))
                    _lanes.Add(thread, lane = _lanes.Count + 1);
                Keep(span, duration, lane);
            }

            return;
        }

        _open.Pop();
        _ticks[(int)span.Part] += duration - span.Inside;
        if (_open.TryPeek(out var around))
            around.Inside += duration;
        else
            _covered += duration;
        lock (_gate)
            Keep(span, duration, 0);
        AtEdges?.Invoke();
    }

    private void Keep(OpenSpan span, long duration, int lane)
    {
        if (_current.Count < MostEventsPerStep)
            _current.Add(new TimelineEvent(span.Name, span.Part, span.Start, duration, _step, span.MicroBatch, span.Bytes, lane));
    }

    /// <summary>A span that is going on; ends with its disposal.</summary>
    public readonly struct RecordedSpan : IDisposable, IEquatable<RecordedSpan>
    {
        private readonly StepRecorder? _recorder;
        private readonly OpenSpan? _span;
        private readonly bool _isBackground;

        internal RecordedSpan(StepRecorder recorder, OpenSpan span, bool isBackground) =>
            (_recorder, _span, _isBackground) = (recorder, span, isBackground);

        /// <inheritdoc/>
        public void Dispose()
        {
            if (_span is not null)
                _recorder?.End(_span, _isBackground);
        }

        /// <inheritdoc/>
        public bool Equals(RecordedSpan other) => ReferenceEquals(_span, other._span);

        /// <inheritdoc/>
        public override bool Equals(object? obj) => obj is RecordedSpan other && Equals(other);

        /// <inheritdoc/>
        public override int GetHashCode() => _span?.GetHashCode() ?? 0;

        /// <summary>Whether both are the same span.</summary>
        public static bool operator ==(RecordedSpan left, RecordedSpan right) => left.Equals(right);

        /// <summary>Whether they are different spans.</summary>
        public static bool operator !=(RecordedSpan left, RecordedSpan right) => !left.Equals(right);
    }

    internal sealed class OpenSpan(StepPart part, string name, int? microBatch, long bytes, long start)
    {
        public StepPart Part => part;

        public string Name => name;

        public int? MicroBatch => microBatch;

        public long Bytes => bytes;

        public long Start => start;

        public long Inside { get; set; }
    }
}
