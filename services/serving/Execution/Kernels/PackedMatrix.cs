using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Platform.Serving.Execution.Kernels;

/// <summary>How a matrix is kept in memory.</summary>
internal enum WeightStorage
{
    /// <summary>As the elements of the activations.</summary>
    Plain,

    /// <summary>As signed bytes with one scale per output, widened panel by panel when they are used.</summary>
    Quantised,
}

/// <summary>
/// A matrix [outputs, inputs] in panels of 32 outputs: of each panel the weights of the first step of inputs, then those of
/// the next, so that a kernel reads memory once from beginning to end. Inputs and outputs are padded with zeros.
/// </summary>
internal sealed unsafe class PackedMatrix<T> : IDisposable
    where T : unmanaged, IElement<T>
{
    private const int Columns = TileKernel<T>.Columns;

    private readonly NativeBuffer _panels;
    private readonly NativeBuffer? _scales;

    /// <summary>Packs rows.</summary>
    /// <param name="rows">The rows in the order of the outputs.</param>
    /// <param name="inputs">Elements of a row.</param>
    /// <param name="storage">How to keep them.</param>
    /// <param name="lanes">Threads that do it.</param>
    public PackedMatrix(WeightRows rows, int inputs, WeightStorage storage, ComputeLanes lanes)
    {
        Outputs = rows.Count;
        Inputs = inputs;
        PanelCount = (Outputs + Columns - 1) / Columns;
        Rounds = (inputs + TileKernel<T>.RoundInputs - 1) / TileKernel<T>.RoundInputs;
        Storage = storage;
        var panelBytes = (long)PanelElements * (storage == WeightStorage.Quantised ? sizeof(sbyte) : sizeof(T));
        _panels = new NativeBuffer(PanelCount * panelBytes);
        _scales = storage == WeightStorage.Quantised ? new NativeBuffer(PaddedOutputs * sizeof(float)) : null;
        var errors = new QuantisationError[PanelCount];
        lanes.Run(PanelCount, parallel: true, (panel, _) => Pack(rows, panel, errors));
        Error = errors.Aggregate(default(QuantisationError), (a, b) => a + b);
    }

    public int Outputs { get; }

    public int Inputs { get; }

    public int PanelCount { get; }

    public int Rounds { get; }

    public WeightStorage Storage { get; }

    /// <summary>Outputs in memory.</summary>
    public int PaddedOutputs => PanelCount * Columns;

    /// <summary>Inputs in memory.</summary>
    public int PaddedInputs => Rounds * TileKernel<T>.RoundInputs;

    /// <summary>Elements of a panel.</summary>
    public int PanelElements => PaddedInputs * Columns;

    /// <summary>Bytes of memory.</summary>
    public long ByteLength => _panels.ByteLength + (_scales?.ByteLength ?? 0);

    /// <summary>What quantisation lost.</summary>
    public QuantisationError Error { get; }

    /// <summary>Factors of a panel's 32 outputs; null when there are none.</summary>
    public float* Scales(int panel) => _scales is null ? null : _scales.Pointer<float>() + (panel * Columns);

    /// <summary>A panel for a kernel.</summary>
    /// <param name="panel">Which.</param>
    /// <param name="scratch">Room for <see cref="PanelElements"/>, used when the panel has to be widened.</param>
    public T* Panel(int panel, T* scratch)
    {
        if (Storage == WeightStorage.Plain)
            return _panels.Pointer<T>() + ((long)panel * PanelElements);
        var source = _panels.Pointer<sbyte>() + ((long)panel * PanelElements);
        for (var i = 0; i < PanelElements; i += 32)
        {
            // Both halves at once, so that the conversions of one do not wait for those of the other.
            var low = Widened(source + i);
            var high = Widened(source + i + 16);
            T.Store(scratch + i, low);
            T.Store(scratch + i + 16, high);
        }

        return scratch;
    }

    public void Dispose()
    {
        _panels.Dispose();
        _scales?.Dispose();
    }

    private static Vector512<float> Widened(sbyte* source)
    {
        var bytes = Vector128.Load(source);
        if (Avx512F.IsSupported)
            return Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(bytes));
        var (low, high) = Vector128.Widen(bytes);
        var wide = Vector512.Create(Vector256.Create(Vector128.WidenLower(low), Vector128.WidenUpper(low)), Vector256.Create(Vector128.WidenLower(high), Vector128.WidenUpper(high)));
        return Vector512.ConvertToSingle(wide);
    }

    private void Pack(WeightRows rows, int panel, QuantisationError[] errors)
    {
        using var memory = new NativeBuffer((long)PaddedInputs * sizeof(float));
        var row = memory.Pointer<float>();
        for (var column = 0; column < Columns; column++)
        {
            var output = (panel * Columns) + column;
            if (output >= Outputs || !rows.Read(output, Inputs, row))
                continue;
            if (Storage == WeightStorage.Plain)
                PackPlain(row, _panels.Pointer<T>() + ((long)panel * PanelElements), column);
            else
                errors[panel] += PackQuantised(row, panel, column);
        }
    }

    private void PackPlain(float* row, T* target, int column)
    {
        for (var input = 0; input < Inputs; input++)
            target[Place(input, column)] = T.FromSingle(row[input]);
    }

    private QuantisationError PackQuantised(float* row, int panel, int column)
    {
        var largest = 0f;
        for (var input = 0; input < Inputs; input++)
            largest = MathF.Max(largest, MathF.Abs(row[input]));
        var scale = largest / sbyte.MaxValue;
        Scales(panel)[column] = scale;
        var target = _panels.Pointer<sbyte>() + ((long)panel * PanelElements);
        double errorSquares = 0, squares = 0;
        for (var input = 0; input < Inputs; input++)
        {
            var quantised = scale > 0 ? (sbyte)MathF.Round(row[input] / scale) : (sbyte)0;
            target[Place(input, column)] = quantised;
            var error = row[input] - (quantised * scale);
            errorSquares += error * error;
            squares += row[input] * row[input];
        }

        return new QuantisationError(errorSquares, squares);
    }

    private static int Place(int input, int column) =>
        (input / T.StepElements * Columns * T.StepElements) + (column * T.StepElements) + (input % T.StepElements);
}

/// <summary>What quantisation lost: sums over weights.</summary>
/// <param name="ErrorSquares">Squares of the differences.</param>
/// <param name="Squares">Squares of the exact weights.</param>
internal readonly record struct QuantisationError(double ErrorSquares, double Squares)
{
    /// <summary>Root of the mean square error relative to that of the weights.</summary>
    public double Relative => Squares > 0 ? Math.Sqrt(ErrorSquares / Squares) : 0;

    public static QuantisationError operator +(QuantisationError a, QuantisationError b) =>
        new(a.ErrorSquares + b.ErrorSquares, a.Squares + b.Squares);
}
