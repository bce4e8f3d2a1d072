using Platform.Core.Jobs;

namespace Platform.Torch.Parallel;

/// <summary>
/// The order in which pipeline stages work through the micro-batches of a step, as data. Micro-batches leave and enter every
/// stage in their own order, so messages between two stages need no labels.
/// </summary>
public static class PipelineScheduleBuilder
{
    /// <summary>Actions of one stage, in order.</summary>
    /// <param name="schedule">GPipe, or one forward one backward.</param>
    /// <param name="stage">Stage, from 0.</param>
    /// <param name="stages">Number of stages.</param>
    /// <param name="microBatches">Micro-batches per step.</param>
    /// <exception cref="NotSupportedException">The schedule is interleaved.</exception>
    public static IReadOnlyList<PipelineAction> Build(PipelineSchedule schedule, int stage, int stages, int microBatches)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(stages);
        ArgumentOutOfRangeException.ThrowIfNegative(stage);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(stage, stages);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(microBatches);
        return schedule switch
        {
            PipelineSchedule.GPipe => AfterWarmUp(microBatches, microBatches),
            PipelineSchedule.OneForwardOneBackward => AfterWarmUp(Math.Min(microBatches, stages - stage - 1), microBatches),
            PipelineSchedule.Interleaved => throw new NotSupportedException("The interleaved schedule is not implemented."),
            _ => throw new ArgumentOutOfRangeException(nameof(schedule)),
        };
    }

    /// <summary>
    /// So many forwards, then forward and backward in turn, then the backwards that are left (PipeDream-Flush, Narayanan et
    /// al. 2021, figure 4). A stage that warms up with one forward per stage after it is ready for its first gradient just
    /// when that arrives; warming up with all of them is GPipe.
    /// </summary>
    private static List<PipelineAction> AfterWarmUp(int warmUp, int microBatches)
    {
        var actions = new List<PipelineAction>(2 * microBatches);
        for (var i = 0; i < warmUp; i++)
            actions.Add(new(PipelineActionKind.Forward, i));
        for (var i = warmUp; i < microBatches; i++)
        {
            actions.Add(new(PipelineActionKind.Forward, i));
            actions.Add(new(PipelineActionKind.Backward, i - warmUp));
        }

        for (var i = microBatches - warmUp; i < microBatches; i++)
            actions.Add(new(PipelineActionKind.Backward, i));
        return actions;
    }
}
