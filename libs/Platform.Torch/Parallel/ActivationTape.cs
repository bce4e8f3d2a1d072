using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>
/// What the forward of one micro-batch keeps for its backward, last in first out: each layer pushes in its forward and pops
/// the same number in its backward. The tape owns what is on it, whatever dispose scope was open when it was pushed. A tensor
/// that carries an autograd graph keeps the graph.
/// </summary>
public sealed class ActivationTape : IDisposable
{
    private readonly Stack<Tensor> _kept = new();
    private readonly List<Tensor> _popped = [];

    /// <summary>Tensors on the tape.</summary>
    public int Count => _kept.Count;

    /// <summary>Keeps a tensor. The tape disposes it; hand over a handle of your own, or <c>alias()</c> of a shared one.</summary>
    public void Push(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        _kept.Push(tensor.DetachFromDisposeScope());
    }

    /// <summary>The tensor pushed last. It stays alive until <see cref="Release"/>.</summary>
    /// <exception cref="InvalidOperationException">The tape is empty: a backward does not match its forward.</exception>
    public Tensor Pop()
    {
        var tensor = _kept.Pop();
        _popped.Add(tensor);
        return tensor;
    }

    /// <summary>Disposes what was popped.</summary>
    public void Release()
    {
        foreach (var tensor in _popped)
            tensor.Dispose();
        _popped.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Release();
        foreach (var tensor in _kept)
            tensor.Dispose();
        _kept.Clear();
    }
}
