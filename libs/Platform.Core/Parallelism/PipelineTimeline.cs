using Platform.Core.Jobs;

namespace Platform.Core.Parallelism;

/// <summary>One computation and when it happens.</summary>
/// <param name="Action">The computation.</param>
/// <param name="Start">When it begins, in units of time from the start of the step.</param>
/// <param name="End">When its result is there.</param>
public readonly record struct TimedPipelineAction(PipelineAction Action, long Start, long End);

/// <summary>
/// A schedule played in whole units of time, as if messages took none and waited wherever they are early.
/// </summary>
public sealed class PipelineTimeline
{
    private PipelineTimeline(IReadOnlyList<IReadOnlyList<TimedPipelineAction>> stages) => Stages = stages;

    /// <summary>Each stage's computations, in order.</summary>
    public IReadOnlyList<IReadOnlyList<TimedPipelineAction>> Stages { get; }

    /// <summary>Length of the step.</summary>
    public long Length => Stages.Max(stage => stage[^1].End);

    /// <summary>Plays a schedule.</summary>
    /// <param name="schedule">Which schedule.</param>
    /// <param name="shape">Size of the pipeline.</param>
    /// <param name="forward">Time of one forward of one chunk.</param>
    /// <param name="backward">Time of one backward of one chunk.</param>
    /// <exception cref="ArgumentException">The schedule cannot have this shape.</exception>
    public static PipelineTimeline Play(PipelineSchedule schedule, PipelineShape shape, int forward, int backward)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(forward);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(backward);
        var actions = Enumerable.Range(0, shape.Stages).Select(stage => PipelineSchedules.Build(schedule, shape, stage)).ToArray();
        var timed = actions.Select(own => new List<TimedPipelineAction>(own.Count)).ToArray();
        var arrivals = actions.Select(_ => new Dictionary<PipelineAction, long>()).ToArray();
        bool moved;
        do
        {
            moved = false;
            for (var stage = 0; stage < shape.Stages; stage++)
            {
                while (timed[stage].Count < actions[stage].Count && TryPlay(stage))
                    moved = true;
            }
        }
        while (moved);

        if (timed.Zip(actions).Any(pair => pair.First.Count < pair.Second.Count))
            throw new InvalidOperationException($"{schedule} of {shape} waits for itself.");
        return new PipelineTimeline(timed);

        bool TryPlay(int stage)
        {
            var action = actions[stage][timed[stage].Count];
            long arrival = 0;
            if (shape.SourceOf(stage, action) is not null && !arrivals[stage].TryGetValue(action, out arrival))
                return false;
            var start = Math.Max(arrival, timed[stage].Count == 0 ? 0 : timed[stage][^1].End);
            var end = start + (action.Kind == PipelineActionKind.Forward ? forward : backward);
            timed[stage].Add(new TimedPipelineAction(action, start, end));
            if (shape.ResultOf(stage, action) is { } result)
                arrivals[result.Peer].Add(result.Input, end);
            return true;
        }
    }
}
