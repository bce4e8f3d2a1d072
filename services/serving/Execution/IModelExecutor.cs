using Platform.Core.Models;
using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Execution;

/// <summary>
/// Runs a model over the spans of an iteration. All calls come from one thread. A row's logits depend on its sequence's
/// tokens alone: not on the other spans, on how a prompt was cut, nor on which blocks hold it.
/// </summary>
internal interface IModelExecutor : IDisposable
{
    ModelConfig Config { get; }

    /// <summary>Computes the spans' tokens, stores their keys and values, and gives the logits of the spans that sample.</summary>
    /// <param name="spans">Spans of at most the batch's tokens together.</param>
    /// <param name="logits">Receives a row of logits, one per token of the vocabulary, for each span that samples, in order, and after it one for each of its guesses.</param>
    void Run(ReadOnlySpan<ScheduledSpan> spans, LogitRows logits);

    /// <summary>The hidden state of a row of the last run as the head would see it: the last layer's, normalised.</summary>
    /// <param name="row">Row, counted through the spans.</param>
    /// <param name="target">Receives as many numbers as the model is wide.</param>
    void ReadHidden(int row, Span<float> target);
}

/// <summary>A share of a model whose other shares, the first of them leading, are in other processes.</summary>
internal interface IModelShard : IDisposable
{
    /// <summary>Computes this share of every iteration of the leader until the replica ends.</summary>
    /// <param name="began">Called when an iteration begins.</param>
    /// <exception cref="Platform.Torch.Collectives.CollectiveException">A peer failed or is gone.</exception>
    void Follow(Action began);
}

/// <summary>Rows of fp32 logits. Reused from iteration to iteration.</summary>
internal sealed unsafe class LogitRows(int vocabularySize)
{
    private float[] _values = [];

    public int VocabularySize { get; } = vocabularySize;

    public int Count { get; private set; }

    /// <summary>Numbers from row to row: whole panels of the head.</summary>
    public int Stride { get; } = (vocabularySize + 31) / 32 * 32;

    /// <summary>Address of the first row; the memory never moves, and stays until the next <see cref="Resize"/>.</summary>
    internal float* Start => (float*)System.Runtime.CompilerServices.Unsafe.AsPointer(
        ref System.Runtime.InteropServices.MemoryMarshal.GetArrayDataReference(_values));

    public ReadOnlySpan<float> this[int row] => _values.AsSpan(row * Stride, VocabularySize);

    internal Span<float> Row(int row) => _values.AsSpan(row * Stride, VocabularySize);

    internal void Resize(int count)
    {
        Count = count;
        if (_values.Length < count * Stride)
            _values = GC.AllocateUninitializedArray<float>(Math.Max(1, count) * Stride, pinned: true);
    }
}
