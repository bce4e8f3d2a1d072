using Platform.Formats.Checkpoints;
using Platform.Formats.Safetensors;
using Platform.Torch.Models.Llama;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>
/// A box of a global tensor whose elements lie one after another in this rank's memory. What reads and writes checkpoints
/// deals in pieces, so that it is the same whatever ranks divide among themselves.
/// </summary>
/// <param name="Kind">Which of the tensors that go with a weight.</param>
/// <param name="Bundle">The tensor of the rank that it is a part of.</param>
/// <param name="Parameter">The weight.</param>
/// <param name="Box">The part of the whole weight.</param>
/// <param name="Unit">Unit in whose memory it lies.</param>
/// <param name="Range">Its elements, counted from the unit's first.</param>
public sealed record StatePiece(
    StateKind Kind, ParameterBundle Bundle, LlamaParameter Parameter, TensorBox Box, ParameterUnit Unit, ElementRange Range)
{
    /// <summary>The pieces of one bundle's part that lie in a range of its unit: a few rows' ends and the rows between them.</summary>
    internal static IEnumerable<StatePiece> Of(StateKind kind, ParameterUnit unit, UnitEntry entry, BundlePart part, ElementRange kept)
    {
        var slice = part.Slice;
        var rowLength = part.LocalShape.Skip(1).Aggregate(1L, (product, length) => product * length);
        var rows = slice.Dimension == 0 ? slice.Length : part.LocalShape[0];
        var start = entry.Offset + (part.LocalStart * rowLength);
        var held = new ElementRange(start, rows * rowLength).Intersect(kept);
        for (var next = held.Start; next < held.End;)
        {
            var (row, column) = Math.DivRem(next - start, rowLength);
            var left = held.End - next;
            var (rowCount, columnCount) = column == 0 && left >= rowLength
                ? (left / rowLength, rowLength)
                : (1, Math.Min(rowLength - column, left));
            var count = rowCount * columnCount;
            yield return new StatePiece(
                kind, entry.Bundle, part.Parameter, BoxOf(part, row, rowCount, column, columnCount), unit, new ElementRange(next, count));
            next += count;
        }
    }

    private static TensorBox BoxOf(BundlePart part, long row, long rowCount, long column, long columnCount)
    {
        var (firstRow, firstColumn) = part.Slice.Dimension == 0 ? (part.Slice.Start, 0L) : (0L, part.Slice.Start);
        return part.Parameter.Shape.Length == 1
            ? new TensorBox(TensorShape.Create(firstRow + row), TensorShape.Create(rowCount))
            : new TensorBox(TensorShape.Create(firstRow + row, firstColumn + column), TensorShape.Create(rowCount, columnCount));
    }
}
