using System.Runtime.Intrinsics;
using Platform.Formats.Safetensors;

namespace Platform.Serving.Execution.Kernels;

/// <summary>A weight where it lies, such as in a mapped file.</summary>
/// <param name="Start">Address of the first element.</param>
/// <param name="Type">F64, F32, F16 or BF16.</param>
internal readonly unsafe record struct WeightView(nint Start, TensorDataType Type)
{
    private int ElementBytes => Type switch
    {
        TensorDataType.F64 => 8,
        TensorDataType.F32 => 4,
        TensorDataType.F16 or TensorDataType.BF16 => 2,
        _ => throw new InvalidOperationException($"Weights of type {Type} are not supported."),
    };

    /// <summary>Reads elements as fp32.</summary>
    public void Read(long first, int count, float* target)
    {
        var source = (byte*)Start + (first * ElementBytes);
        var i = 0;
        switch (Type)
        {
            case TensorDataType.F64:
                for (; i < count; i++)
                    target[i] = (float)((double*)source)[i];
                break;
            case TensorDataType.F32:
                Buffer.MemoryCopy(source, target, count * sizeof(float), count * sizeof(float));
                break;
            case TensorDataType.F16:
                for (; i < count; i++)
                    target[i] = (float)((Half*)source)[i];
                break;
            default:
                for (; i + 16 <= count; i += 16)
                    BFloat16Element.Load((BFloat16Element*)source + i).Store(target + i);
                for (; i < count; i++)
                    target[i] = BFloat16Element.ToSingle(((BFloat16Element*)source)[i]);
                break;
        }
    }
}

/// <summary>Consecutive rows of a weight, whole or from one column on.</summary>
/// <param name="View">Where the weight lies.</param>
/// <param name="RowLength">Elements of its rows.</param>
/// <param name="FirstRow">First row.</param>
/// <param name="Rows">Number of rows.</param>
/// <param name="FirstColumn">First column.</param>
internal readonly record struct WeightPart(WeightView View, int RowLength, int FirstRow, int Rows, int FirstColumn = 0)
{
    /// <summary>Reads the beginning of a row of the part.</summary>
    public unsafe void Read(int row, int width, float* target) => View.Read(((long)(FirstRow + row) * RowLength) + FirstColumn, width, target);
}

/// <summary>Rows of one or several weights in the order in which a matrix is to have them as outputs.</summary>
internal sealed class WeightRows
{
    private readonly (int Part, int Row)[] _rows;
    private readonly WeightPart[] _parts;

    private WeightRows((int Part, int Row)[] rows, WeightPart[] parts) => (_rows, _parts) = (rows, parts);

    public int Count => _rows.Length;

    /// <summary>Weights one below the other.</summary>
    public static WeightRows Stacked(params ReadOnlySpan<WeightPart> parts)
    {
        var rows = new List<(int, int)>();
        for (var part = 0; part < parts.Length; part++)
            rows.AddRange(Enumerable.Repeat(part, parts[part].Rows).Select((p, row) => (p, row)));
        return new([.. rows], parts.ToArray());
    }

    /// <summary>
    /// Two weights of as many rows, 16 rows of the first and 16 of the second in turn, so that a panel holds both for the same
    /// 16 outputs.
    /// </summary>
    public static WeightRows Interleaved(WeightPart first, WeightPart second)
    {
        const int none = -1;
        var padded = (first.Rows + 15) / 16 * 16;
        var order = new (int, int)[2 * padded];
        for (var i = 0; i < padded; i++)
        {
            var place = (i / 16 * 32) + (i % 16);
            order[place] = i < first.Rows ? (0, i) : (none, 0);
            order[place + 16] = i < first.Rows ? (1, i) : (none, 0);
        }

        return new(order, [first, second]);
    }

    /// <summary>Reads the row of an output; false where there is only padding.</summary>
    public unsafe bool Read(int output, int width, float* target)
    {
        var (part, row) = _rows[output];
        if (part < 0)
            return false;
        _parts[part].Read(row, width, target);
        return true;
    }
}
