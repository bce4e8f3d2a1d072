using Platform.Core.Parallelism;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>
/// What a stage holds in the course of a step: inputs that have arrived, results that are still to be sent, and the tapes of
/// micro-batches between their forward and their backward. It owns all of them.
/// </summary>
internal sealed class PipelineStepState : IDisposable
{
    private readonly Dictionary<PipelineAction, Tensor> _arrived = [];
    private readonly Queue<Tensor> _results = new();
    private readonly Dictionary<(int MicroBatch, int Chunk), ActivationTape> _tapes = [];

    /// <summary>Keeps the input of a computation to come, and takes over the tensor.</summary>
    public void Arrive(PipelineAction input, Tensor tensor) => _arrived.Add(input, tensor.DetachFromDisposeScope());

    /// <summary>The input of a computation; the caller disposes it.</summary>
    /// <exception cref="InvalidOperationException">It has not arrived: the program is wrong.</exception>
    public Tensor Take(PipelineAction action) =>
        _arrived.Remove(action, out var tensor) ? tensor : throw new InvalidOperationException($"The input of {action} has not arrived.");

    /// <summary>Keeps a result until it is sent, and takes over the tensor.</summary>
    public void Finish(Tensor result) => _results.Enqueue(result.DetachFromDisposeScope());

    /// <summary>The oldest result that was not sent; the caller owns it now.</summary>
    public Tensor NextResult() => _results.Dequeue();

    /// <summary>A tape for a forward, kept until its backward.</summary>
    public ActivationTape Begin(PipelineAction forward)
    {
        var tape = new ActivationTape();
        _tapes.Add((forward.MicroBatch, forward.Chunk), tape);
        return tape;
    }

    /// <summary>The tape of a backward's forward; the caller disposes it.</summary>
    public ActivationTape End(PipelineAction backward)
    {
        var key = (backward.MicroBatch, backward.Chunk);
        return _tapes.Remove(key, out var tape) ? tape : throw new InvalidOperationException($"{backward} comes before its forward.");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var tape in _tapes.Values)
            tape.Dispose();
        foreach (var tensor in _arrived.Values.Concat(_results))
            tensor.Dispose();
        _tapes.Clear();
        _arrived.Clear();
        _results.Clear();
    }
}
