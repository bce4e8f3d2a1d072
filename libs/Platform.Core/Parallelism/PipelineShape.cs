namespace Platform.Core.Parallelism;

/// <summary>
/// The size of a pipeline: p stages, m micro-batches per step, v model chunks (virtual stages) on each stage. Chunk c of
/// stage s is virtual stage <c>c·p + s</c>, so a micro-batch goes around all stages once per chunk (Narayanan et al. 2021,
/// section 2.2.2).
/// </summary>
public sealed record PipelineShape
{
    /// <summary>A shape; each number is at least 1.</summary>
    /// <param name="stages">p.</param>
    /// <param name="microBatches">m.</param>
    /// <param name="virtualStages">v.</param>
    public PipelineShape(int stages, int microBatches, int virtualStages)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(stages);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(microBatches);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(virtualStages);
        (Stages, MicroBatches, VirtualStages) = (stages, microBatches, virtualStages);
    }

    /// <summary>Stages p: ranks of a pipeline group.</summary>
    public int Stages { get; }

    /// <summary>Micro-batches m per step.</summary>
    public int MicroBatches { get; }

    /// <summary>Model chunks v per stage.</summary>
    public int VirtualStages { get; }

    /// <summary>Forwards of a stage in one step: each micro-batch once per chunk.</summary>
    public int ForwardsPerStage => MicroBatches * VirtualStages;

    /// <summary>Where a computation's input comes from; null where there is none: tokens and losses are at hand.</summary>
    /// <param name="stage">The computing stage.</param>
    /// <param name="action">The computation.</param>
    public int? SourceOf(int stage, PipelineAction action) => Neighbour(stage, action, action.Kind == PipelineActionKind.Forward ? -1 : 1)?.Stage;

    /// <summary>Where a computation's result goes; null where nobody needs it.</summary>
    /// <param name="stage">The computing stage.</param>
    /// <param name="action">The computation.</param>
    public PipelineTransfer? ResultOf(int stage, PipelineAction action) =>
        Neighbour(stage, action, action.Kind == PipelineActionKind.Forward ? 1 : -1) is { } next
            ? new PipelineTransfer(next.Stage, action with { Chunk = next.Chunk })
            : null;

    private (int Stage, int Chunk)? Neighbour(int stage, PipelineAction action, int step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(stage);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(stage, Stages);
        var place = (action.Chunk * Stages) + stage + step;
        return place < 0 || place >= Stages * VirtualStages ? null : (place % Stages, place / Stages);
    }
}
