using System.Runtime.InteropServices;
using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Execution;

/// <summary>A tile of query rows of one sequence and key/value head, the unit of attention's work.</summary>
/// <param name="Span">Index of the sequence's span in the batch.</param>
/// <param name="FirstQuery">First row among the span's (token, head of the group) pairs, token by token.</param>
/// <param name="Count">Rows.</param>
internal readonly record struct AttentionTile(int Span, int FirstQuery, int Count);

/// <summary>What an iteration computes of one sequence.</summary>
/// <param name="Start">First position.</param>
/// <param name="Count">Positions.</param>
/// <param name="SampleRows">Its last rows whose logits are wanted.</param>
/// <param name="Blocks">Blocks of the sequence.</param>
internal readonly record struct BatchSpan(int Start, int Count, int SampleRows, int Blocks);

/// <summary>
/// An iteration laid out as rows, one per token. Reused from iteration to iteration. It knows nothing of requests, so that the
/// ranks of a tensor-parallel replica can pass it on as a list of numbers (<see cref="Write"/>, <see cref="Read"/>).
/// </summary>
/// <param name="maxTokens">Most rows.</param>
/// <param name="queriesPerKey">Query heads per key/value head.</param>
internal sealed class IterationBatch(int maxTokens, int queriesPerKey)
{
    private const int HeaderNumbers = 2, SpanNumbers = 4;

    private readonly List<AttentionTile> _tiles = [];
    private readonly List<int> _sampleRows = [];
    private readonly List<BatchSpan> _spans = [];
    private readonly List<int> _firstRows = [];
    private readonly List<int> _firstBlocks = [];
    private readonly List<int> _blocks = [];

    /// <summary>Token of each row.</summary>
    public int[] Tokens { get; } = new int[maxTokens];

    /// <summary>Position of each row in its sequence.</summary>
    public int[] Positions { get; } = new int[maxTokens];

    /// <summary>Span of each row.</summary>
    public int[] SpanOfRow { get; } = new int[maxTokens];

    /// <summary>First row of each span.</summary>
    public IReadOnlyList<int> FirstRows => _firstRows;

    public IReadOnlyList<AttentionTile> Tiles => _tiles;

    /// <summary>Rows whose logits are wanted, in the order of the spans.</summary>
    public IReadOnlyList<int> SampleRows => _sampleRows;

    public int RowCount { get; private set; }

    /// <summary>Multiply-adds of attention per head element, to judge whether threads are worth waking.</summary>
    public long AttentionPairs { get; private set; }

    /// <summary>Numbers that <see cref="Write"/> writes.</summary>
    public int NumberCount => HeaderNumbers + (SpanNumbers * _spans.Count) + RowCount + _blocks.Count;

    /// <summary>Most numbers of batches of this many rows whose sequences have this many blocks.</summary>
    public static long MostNumbers(int maxTokens, int blocks) => HeaderNumbers + ((long)maxTokens * (SpanNumbers + 1 + blocks));

    /// <summary>Blocks of a span's sequence, in order of position.</summary>
    public ReadOnlySpan<int> Blocks(int span) => CollectionsMarshal.AsSpan(_blocks).Slice(_firstBlocks[span], _spans[span].Blocks);

    /// <summary>Lays a plan out.</summary>
    public void Fill(ReadOnlySpan<ScheduledSpan> spans)
    {
        Clear();
        foreach (var span in spans)
        {
            var known = span.Count - span.Drafts;
            span.Sequence.Tokens.Slice(span.Start, known).CopyTo(Tokens.AsSpan(RowCount));
            span.Sequence.Drafts[..span.Drafts].CopyTo(Tokens.AsSpan(RowCount + known));
            Add(new(span.Start, span.Count, span.Samples ? 1 + span.Drafts : 0, span.Sequence.Blocks.Length), span.Sequence.Blocks);
        }
    }

    /// <summary>Writes the batch as numbers.</summary>
    /// <param name="numbers">Room for <see cref="NumberCount"/>.</param>
    public void Write(Span<int> numbers)
    {
        (numbers[0], numbers[1]) = (_spans.Count, RowCount);
        MemoryMarshal.Cast<BatchSpan, int>(CollectionsMarshal.AsSpan(_spans)).CopyTo(numbers[HeaderNumbers..]);
        var rest = numbers[(HeaderNumbers + (SpanNumbers * _spans.Count))..];
        Tokens.AsSpan(0, RowCount).CopyTo(rest);
        CollectionsMarshal.AsSpan(_blocks).CopyTo(rest[RowCount..]);
    }

    /// <summary>Becomes the batch that was written.</summary>
    public void Read(ReadOnlySpan<int> numbers)
    {
        Clear();
        var (spans, rows) = (numbers[0], numbers[1]);
        var described = MemoryMarshal.Cast<int, BatchSpan>(numbers.Slice(HeaderNumbers, SpanNumbers * spans));
        var rest = numbers[(HeaderNumbers + (SpanNumbers * spans))..];
        rest[..rows].CopyTo(Tokens);
        var blocks = rest[rows..];
        foreach (var span in described)
        {
            Add(span, blocks[..span.Blocks]);
            blocks = blocks[span.Blocks..];
        }
    }

    private void Clear()
    {
        RowCount = 0;
        AttentionPairs = 0;
        _tiles.Clear();
        _sampleRows.Clear();
        _spans.Clear();
        _firstRows.Clear();
        _firstBlocks.Clear();
        _blocks.Clear();
    }

    /// <summary>Adds a span whose tokens are in their rows already.</summary>
    private void Add(BatchSpan span, ReadOnlySpan<int> blocks)
    {
        var index = _spans.Count;
        _spans.Add(span);
        _firstRows.Add(RowCount);
        _firstBlocks.Add(_blocks.Count);
        _blocks.AddRange(blocks);
        for (var i = 0; i < span.Count; i++)
        {
            Positions[RowCount + i] = span.Start + i;
            SpanOfRow[RowCount + i] = index;
        }

        RowCount += span.Count;
        AttentionPairs += (long)span.Count * (span.Start + span.Count);
        for (var first = 0; first < span.Count * queriesPerKey; first += PagedAttention.MaxRows)
            _tiles.Add(new(index, first, Math.Min(PagedAttention.MaxRows, (span.Count * queriesPerKey) - first)));
        for (var row = RowCount - span.SampleRows; row < RowCount; row++)
            _sampleRows.Add(row);
    }
}
