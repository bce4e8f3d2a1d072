using Platform.Serving.Core.Scheduling;

namespace Platform.Serving.Execution;

/// <summary>A tile of query rows of one sequence and key/value head, the unit of attention's work.</summary>
/// <param name="Span">Index of the sequence's span in the batch.</param>
/// <param name="FirstQuery">First row among the span's (token, head of the group) pairs, token by token.</param>
/// <param name="Count">Rows.</param>
internal readonly record struct AttentionTile(int Span, int FirstQuery, int Count);

/// <summary>An iteration laid out as rows, one per token. Reused from iteration to iteration.</summary>
internal sealed class IterationBatch(int maxTokens)
{
    private readonly List<AttentionTile> _tiles = [];
    private readonly List<int> _sampleRows = [];

    /// <summary>Token of each row.</summary>
    public int[] Tokens { get; } = new int[maxTokens];

    /// <summary>Position of each row in its sequence.</summary>
    public int[] Positions { get; } = new int[maxTokens];

    /// <summary>Span of each row.</summary>
    public int[] SpanOfRow { get; } = new int[maxTokens];

    /// <summary>First row of each span.</summary>
    public List<int> FirstRows { get; } = [];

    /// <summary>Sequence of each span; its blocks do not change while the iteration runs.</summary>
    public List<SequenceState> Sequences { get; } = [];

    public IReadOnlyList<AttentionTile> Tiles => _tiles;

    /// <summary>Rows whose logits are wanted, in the order of the spans.</summary>
    public IReadOnlyList<int> SampleRows => _sampleRows;

    public int RowCount { get; private set; }

    public int LongestContext { get; private set; }

    /// <summary>Multiply-adds of attention per head element, to judge whether threads are worth waking.</summary>
    public long AttentionPairs { get; private set; }

    /// <summary>Lays a plan out.</summary>
    /// <param name="spans">Spans of the plan.</param>
    /// <param name="queriesPerKey">Query heads per key/value head.</param>
    public void Fill(ReadOnlySpan<ScheduledSpan> spans, int queriesPerKey)
    {
        RowCount = 0;
        LongestContext = 0;
        AttentionPairs = 0;
        _tiles.Clear();
        _sampleRows.Clear();
        FirstRows.Clear();
        Sequences.Clear();
        for (var s = 0; s < spans.Length; s++)
        {
            var span = spans[s];
            FirstRows.Add(RowCount);
            Sequences.Add(span.Sequence);
            var known = span.Count - span.Drafts;
            span.Sequence.Tokens.Slice(span.Start, known).CopyTo(Tokens.AsSpan(RowCount));
            span.Sequence.Drafts[..span.Drafts].CopyTo(Tokens.AsSpan(RowCount + known));
            for (var i = 0; i < span.Count; i++)
            {
                Positions[RowCount + i] = span.Start + i;
                SpanOfRow[RowCount + i] = s;
            }

            RowCount += span.Count;
            LongestContext = Math.Max(LongestContext, span.Start + span.Count);
            AttentionPairs += (long)span.Count * (span.Start + span.Count);
            for (var first = 0; first < span.Count * queriesPerKey; first += PagedAttention.MaxRows)
                _tiles.Add(new(s, first, Math.Min(PagedAttention.MaxRows, (span.Count * queriesPerKey) - first)));
            for (var row = RowCount - 1 - span.Drafts; span.Samples && row < RowCount; row++)
                _sampleRows.Add(row);
        }
    }
}
