namespace Platform.Torch.Parallel;

/// <summary>What a stage does with a micro-batch.</summary>
public enum PipelineActionKind
{
    /// <summary>Receives the activation from the stage before, computes, sends on to the stage after.</summary>
    Forward,

    /// <summary>Receives the gradient from the stage after, computes, sends on to the stage before.</summary>
    Backward,
}

/// <summary>One entry of a stage's schedule.</summary>
/// <param name="Kind">What is done.</param>
/// <param name="MicroBatch">With which micro-batch of the step, from 0.</param>
public readonly record struct PipelineAction(PipelineActionKind Kind, int MicroBatch);
