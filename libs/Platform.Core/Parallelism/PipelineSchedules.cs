using Platform.Core.Jobs;

namespace Platform.Core.Parallelism;

/// <summary>The order in which pipeline stages work through the micro-batches of a step, as data.</summary>
public static class PipelineSchedules
{
    /// <summary>Computations of one stage, in order.</summary>
    /// <param name="schedule">Which schedule.</param>
    /// <param name="shape">Size of the pipeline.</param>
    /// <param name="stage">Stage, from 0.</param>
    /// <exception cref="ArgumentException">
    /// The schedule cannot have this shape: only the interleaved one has more than one chunk, and its micro-batches are a
    /// multiple of the stages.
    /// </exception>
    public static IReadOnlyList<PipelineAction> Build(PipelineSchedule schedule, PipelineShape shape, int stage)
    {
        ArgumentNullException.ThrowIfNull(shape);
        var warmUp = WarmUp(schedule, shape, stage);
        var total = shape.ForwardsPerStage;
        var actions = new List<PipelineAction>(2 * total);
        for (var i = 0; i < warmUp; i++)
            actions.Add(At(PipelineActionKind.Forward, i));
        for (var i = warmUp; i < total; i++)
        {
            actions.Add(At(PipelineActionKind.Forward, i));
            actions.Add(At(PipelineActionKind.Backward, i - warmUp));
        }

        for (var i = total - warmUp; i < total; i++)
            actions.Add(At(PipelineActionKind.Backward, i));
        return actions;

        // In turns of p micro-batches per chunk; backwards take the chunks in reverse. With one chunk this is just i.
        PipelineAction At(PipelineActionKind kind, int i)
        {
            var (round, place) = Math.DivRem(i, shape.Stages * shape.VirtualStages);
            var chunk = place / shape.Stages;
            return new PipelineAction(
                kind,
                shape.VirtualStages == 1 ? i : (round * shape.Stages) + (place % shape.Stages),
                shape.VirtualStages == 1 ? 0 : kind == PipelineActionKind.Forward ? chunk : shape.VirtualStages - 1 - chunk);
        }
    }

    /// <summary>
    /// The most micro-batches times chunks that a stage keeps between their forward and their backward. GPipe keeps all m;
    /// one forward, one backward <c>min(m, p − s)</c>; interleaved at most <c>p·v + p − 1</c>, which in units of a whole
    /// stage is p times <c>1 + (p−1)/(p·v)</c>.
    /// </summary>
    /// <param name="schedule">Which schedule.</param>
    /// <param name="shape">Size of the pipeline.</param>
    /// <param name="stage">Stage, from 0.</param>
    public static int MostInFlight(PipelineSchedule schedule, PipelineShape shape, int stage)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return Math.Min(shape.ForwardsPerStage, WarmUp(schedule, shape, stage) + 1);
    }

    /// <summary>
    /// Idle time over busy time of a stage if all computations of a kind take equally long everywhere: <c>(p−1)/(v·m)</c>
    /// (Narayanan et al. 2021, section 2.2).
    /// </summary>
    public static double Bubble(PipelineShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return (double)(shape.Stages - 1) / shape.ForwardsPerStage;
    }

    /// <summary>
    /// Forwards before the first backward. A stage that warms up with one forward per stage after it is ready for its first
    /// gradient just when that arrives (PipeDream-Flush, Narayanan et al. 2021, figure 4); with chunks it needs two per stage
    /// after it and all the chunks but the last. Warming up with everything is GPipe.
    /// </summary>
    private static int WarmUp(PipelineSchedule schedule, PipelineShape shape, int stage)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(stage);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(stage, shape.Stages);
        if (schedule != PipelineSchedule.Interleaved && shape.VirtualStages > 1)
            throw new ArgumentException($"{shape.VirtualStages} virtual stages need the interleaved schedule.", nameof(schedule));
        if (schedule == PipelineSchedule.Interleaved && shape.MicroBatches % shape.Stages != 0)
            throw new ArgumentException(
                $"The interleaved schedule needs a multiple of {shape.Stages} micro-batches, one for each stage; {shape.MicroBatches} are given.",
                nameof(shape));
        var after = shape.Stages - stage - 1;
        return schedule switch
        {
            PipelineSchedule.GPipe => shape.MicroBatches,
            PipelineSchedule.OneForwardOneBackward => Math.Min(shape.MicroBatches, after),
            PipelineSchedule.Interleaved when shape.VirtualStages == 1 => Math.Min(shape.MicroBatches, after),
            PipelineSchedule.Interleaved => Math.Min(shape.ForwardsPerStage, (2 * after) + ((shape.VirtualStages - 1) * shape.Stages)),
            _ => throw new ArgumentOutOfRangeException(nameof(schedule)),
        };
    }
}
