namespace Platform.Scheduling.Queues;

/// <summary>
/// What each queue used lately: thousandths of devices in use, averaged with weights that halve every <see cref="HalfLife"/>.
/// A value: each step makes a new one.
/// </summary>
/// <param name="At">The time it stands for.</param>
/// <param name="Average">Average use by queue and kind.</param>
public sealed record QueueHistory(DateTimeOffset At, IReadOnlyDictionary<(string Queue, string Kind), double> Average)
{
    /// <summary>Time in which the past loses half its weight.</summary>
    public static readonly TimeSpan HalfLife = TimeSpan.FromHours(1);

    /// <summary>Nothing has been used.</summary>
    public static QueueHistory Empty { get; } = new(DateTimeOffset.UnixEpoch, new Dictionary<(string, string), double>());

    /// <summary>The history at a later time, after these amounts were in use since.</summary>
    public QueueHistory After(IReadOnlyDictionary<(string Queue, string Kind), long> used, DateTimeOffset now)
    {
        if (now <= At)
        {
            return this;
        }

        double kept = At == DateTimeOffset.UnixEpoch ? 0 : Math.Pow(0.5, (now - At) / HalfLife);
        var next = Average.Keys.Concat(used.Keys).Distinct()
            .ToDictionary(key => key, key => (kept * Average.GetValueOrDefault(key)) + ((1 - kept) * (At == DateTimeOffset.UnixEpoch ? 0 : used.GetValueOrDefault(key))));
        // What is in use stays however little it is yet: steps are short beside the half-life.
        foreach (var key in next.Where(entry => entry.Value < 0.5 && used.GetValueOrDefault(entry.Key) == 0).Select(entry => entry.Key).ToList())
        {
            next.Remove(key);
        }

        return new QueueHistory(now, next);
    }
}
