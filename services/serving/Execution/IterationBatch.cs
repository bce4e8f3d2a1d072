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
/// <param name="Adapter">Number of the adapter that it is computed with; 0 for the model itself.</param>
internal readonly record struct BatchSpan(int Start, int Count, int SampleRows, int Blocks, int Adapter);

/// <summary>Rows next to each other that use the same adapter.</summary>
/// <param name="Adapter">Its number, from 1.</param>
/// <param name="First">First row.</param>
/// <param name="Count">Rows.</param>
internal readonly record struct AdapterRun(int Adapter, int First, int Count);

/// <summary>
/// An iteration laid out as rows, one per token: those without an adapter first, then those of each adapter, so that rows that
/// need the same weights lie together. Reused from iteration to iteration. It knows nothing of requests, so that the
/// ranks of a tensor-parallel replica can pass it on as a list of numbers (<see cref="Write"/>, <see cref="Read"/>).
/// </summary>
/// <param name="maxTokens">Most rows.</param>
/// <param name="queriesPerKey">Query heads per key/value head.</param>
internal sealed class IterationBatch(int maxTokens, int queriesPerKey)
{
    private const int HeaderNumbers = 2, SpanNumbers = 5;

    private readonly List<AttentionTile> _tiles = [];
    private readonly List<int> _sampleRows = [];
    private readonly List<BatchSpan> _spans = [];
    private readonly List<int> _firstRows = [];
    private readonly List<int> _firstBlocks = [];
    private readonly List<int> _blocks = [];
    private readonly List<AdapterRun> _adapterRuns = [];

    /// <summary>Token of each row.</summary>
    public int[] Tokens { get; } = new int[maxTokens];

    /// <summary>Position of each row in its sequence.</summary>
    public int[] Positions { get; } = new int[maxTokens];

    /// <summary>Span of each row.</summary>
    public int[] SpanOfRow { get; } = new int[maxTokens];

    /// <summary>Row of each token, tokens counted through the spans.</summary>
    public int[] RowOf { get; } = new int[maxTokens];

    /// <summary>Rows with adapters, by adapter.</summary>
    public IReadOnlyList<AdapterRun> AdapterRuns => _adapterRuns;

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
            // Of a span of guesses alone, each row's logits are wanted.
            var samples = span.Samples ? Math.Min(span.Count, 1 + span.Drafts) : 0;
            Add(new(span.Start, span.Count, samples, span.Sequence.Blocks.Length, span.Sequence.Adapter), span.Sequence.Blocks);
        }

        LayOut();
        for (var i = 0; i < spans.Length; i++)
        {
            var (span, row) = (spans[i], _firstRows[i]);
            var tokens = span.Sequence.Tokens;
            var known = Math.Clamp(tokens.Length - span.Start, 0, span.Count);
            if (known > 0)
                tokens.Slice(span.Start, known).CopyTo(Tokens.AsSpan(row));
            if (known < span.Count)
                span.Sequence.Drafts.Slice(span.Start + known - tokens.Length, span.Count - known).CopyTo(Tokens.AsSpan(row + known));
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

        LayOut();
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
        _adapterRuns.Clear();
    }

    private void Add(BatchSpan span, ReadOnlySpan<int> blocks)
    {
        _spans.Add(span);
        _firstRows.Add(0);
        _firstBlocks.Add(_blocks.Count);
        _blocks.AddRange(blocks);
    }

    /// <summary>Gives every span its rows.</summary>
    private void LayOut()
    {
        var highest = 0;
        foreach (var span in _spans)
            highest = Math.Max(highest, span.Adapter);
        for (var adapter = 0; adapter <= highest; adapter++)
        {
            var first = RowCount;
            for (var index = 0; index < _spans.Count; index++)
            {
                if (_spans[index].Adapter == adapter)
                    LayOut(index, _spans[index]);
            }

            if (adapter > 0 && RowCount > first)
                _adapterRuns.Add(new(adapter, first, RowCount - first));
        }

        var token = 0;
        for (var index = 0; index < _spans.Count; index++)
        {
            var end = _firstRows[index] + _spans[index].Count;
            for (var row = _firstRows[index]; row < end; row++)
                RowOf[token++] = row;
            for (var row = end - _spans[index].SampleRows; row < end; row++)
                _sampleRows.Add(row);
        }
    }

    private void LayOut(int index, BatchSpan span)
    {
        _firstRows[index] = RowCount;
        for (var i = 0; i < span.Count; i++)
        {
            Positions[RowCount + i] = span.Start + i;
            SpanOfRow[RowCount + i] = index;
        }

        RowCount += span.Count;
        AttentionPairs += (long)span.Count * (span.Start + span.Count);
        for (var first = 0; first < span.Count * queriesPerKey; first += PagedAttention.MaxRows)
            _tiles.Add(new(index, first, Math.Min(PagedAttention.MaxRows, (span.Count * queriesPerKey) - first)));
    }
}
