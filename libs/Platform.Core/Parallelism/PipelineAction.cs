namespace Platform.Core.Parallelism;

/// <summary>What a stage does with a micro-batch.</summary>
public enum PipelineActionKind
{
    /// <summary>Takes the activation of the layers before, computes, passes on to the layers after.</summary>
    Forward,

    /// <summary>Takes the gradient from the layers after, computes, passes on to the layers before.</summary>
    Backward,
}

/// <summary>One computation of a stage's schedule.</summary>
/// <param name="Kind">What is done.</param>
/// <param name="MicroBatch">With which micro-batch of the step, from 0.</param>
/// <param name="Chunk">In which of the stage's model chunks, from 0; always 0 without virtual stages.</param>
public readonly record struct PipelineAction(PipelineActionKind Kind, int MicroBatch, int Chunk);

/// <summary>
/// One message between two stages. It is named after the computation that takes it, so that both ends call it the same.
/// </summary>
/// <param name="Peer">The stage at the other end; the stage itself where one stage holds successive chunks.</param>
/// <param name="Input">The receiving stage's computation whose input it is.</param>
public readonly record struct PipelineTransfer(int Peer, PipelineAction Input);
