using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Platform.Torch.Kernels;

/// <summary>The rows of one head in bf16, where they lie.</summary>
/// <param name="Address">Address of the first row.</param>
/// <param name="RowBytes">Bytes from row to row.</param>
internal readonly unsafe record struct PairedHead(nint Address, nint RowBytes)
{
    public ushort* Start => (ushort*)Address;

    public PairedHead From(int row) => this with { Address = Address + (row * RowBytes) };
}

/// <summary>
/// Lays heads out for the matrix kernel, which wants its second operand in panels of 32 columns, each pair by pair of the summed
/// index: [pairs, 32 columns, 2]. What lies beyond the last position is zero.
/// </summary>
internal static unsafe class PairPanels
{
    private const int Columns = 32;

    /// <summary>
    /// Asks for the next 32 rows: rows of one head lie pages apart, where the processor does not foresee the next.
    /// </summary>
    public static void Fetch(PairedHead head, int first, int length, int size)
    {
        if (!Sse.IsSupported)
            return;
        for (var t = first; t < Math.Min(length, first + Columns); t++)
        {
            var row = head.From(t).Start;
            for (var d = 0; d < size; d += 32)
                Sse.Prefetch0(row + d);
        }
    }

    /// <summary>Panels whose columns are positions and whose pairs are elements of the head: [T / 32, D / 2, 32, 2].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void OfColumns(PairedHead head, int length, int size, uint* panels)
    {
        for (var first = 0; first < length; first += Columns, panels += Columns * size / 2)
        {
            var count = Math.Min(Columns, length - first);
            if (count < Columns)
                new Span<uint>(panels, Columns * size / 2).Clear();
            Fetch(head, first + Columns, length, size);
            for (var t = 0; t < count; t++)
            {
                var row = (uint*)head.From(first + t).Start;
                var column = panels + t;
                for (var pair = 0; pair < size / 2; pair += 4, column += 4 * Columns)
                {
                    column[0] = row[pair];
                    column[Columns] = row[pair + 1];
                    column[2 * Columns] = row[pair + 2];
                    column[3 * Columns] = row[pair + 3];
                }
            }
        }
    }

    /// <summary>Panels whose columns are elements of the head and whose pairs are positions: [D / 32, T / 2, 32, 2], T padded to 32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void OfRows(PairedHead head, int length, int size, uint* panels)
    {
        var pairs = (length + Columns - 1) / Columns * Columns / 2;
        for (var pair = 0; pair < pairs; pair++)
        {
            for (var d = 0; d < size; d += 16)
                Pair(head, length, pair, d).Store(panels + (((d / Columns * pairs) + pair) * Columns) + (d % Columns));
        }
    }

    /// <summary>The head transposed: rows of T positions [D, T], as pairs; <paramref name="pairs"/> from row to row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Turned(PairedHead head, int length, int size, uint* turned, int pairs)
    {
        var block = stackalloc uint[16 * 16];
        for (var d = 0; d < size; d += 16)
        {
            for (var first = 0; first < pairs; first += 16)
            {
                for (var pair = 0; pair < 16; pair++)
                    Pair(head, length, first + pair, d).Store(block + (16 * pair));
                for (var element = 0; element < 16; element++)
                {
                    var row = turned + ((d + element) * pairs) + first;
                    for (var pair = 0; pair < 16; pair++)
                        row[pair] = block[(16 * pair) + element];
                }
            }
        }
    }

    /// <summary>Writes sums [D, T] times a factor to a head's rows [T, D].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void WriteTurned(float* sums, int stride, int length, int size, float scale, PairedHead head)
    {
        var block = stackalloc float[16 * 16];
        for (var d = 0; d < size; d += 16)
        {
            for (var first = 0; first < length; first += 16)
            {
                for (var element = 0; element < 16; element++)
                {
                    var row = sums + ((d + element) * stride) + first;
                    for (var t = 0; t < 16; t++)
                        block[(16 * t) + element] = row[t];
                }

                for (var t = 0; t < Math.Min(16, length - first); t++)
                    BFloat16Lanes.Store(head.From(first + t).Start, d, Vector512.Load(block + (16 * t)) * scale);
            }
        }
    }

    /// <summary>Sixteen elements of two neighbouring positions, interleaved; zeros for a position that does not exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Pair(PairedHead head, int length, int pair, int d)
    {
        var position = 2 * pair;
        if (position >= length)
            return Vector512<uint>.Zero;
        var low = Wide(head.From(position).Start + d);
        return position + 1 < length ? low | (Wide(head.From(position + 1).Start + d) << 16) : low;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Wide(ushort* source)
    {
        var (low, high) = Vector256.Widen(Vector256.Load(source));
        return Vector512.Create(low, high);
    }
}
