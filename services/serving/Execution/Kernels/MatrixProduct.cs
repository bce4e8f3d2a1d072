using System.Runtime.Intrinsics;
using Platform.Serving.Execution.Adapters;

namespace Platform.Serving.Execution.Kernels;

/// <summary>What becomes of a product.</summary>
internal enum ProductUse
{
    /// <summary>It is stored.</summary>
    Store,

    /// <summary>It is added to what is there.</summary>
    Add,

    /// <summary>Its panels hold gates and their factors: <c>g · sigmoid(g) · u</c> is stored as elements.</summary>
    Gate,
}

/// <summary>
/// Products of many rows with a packed matrix, shared among threads panel by panel, so that every weight comes from memory
/// once for all rows. What follows a product is done while it is still in the nearest cache.
/// </summary>
internal sealed unsafe class MatrixProduct<T> : IDisposable
    where T : unmanaged, IElement<T>
{
    private const int Columns = TileKernel<T>.Columns, Half = Columns / 2;

    // Below this many multiplications, waking another thread costs more than it saves.
    private const long ParallelWork = 1 << 15;

    private readonly TileKernel<T> _kernel;
    private readonly ComputeLanes _lanes;
    private readonly NativeBuffer _widened;
    private readonly NativeBuffer _tiles;
    private readonly int _widenedElements;
    private readonly Action<int, int> _panel;

    // Arguments of the product that runs now; the delegate is made once so that a product allocates nothing.
    private PackedMatrix<T>? _matrix;
    private ProductUse _use;
    private T* _input;
    private void* _output;
    private float* _bias;
    private AdapterProducts<T>? _adapters;
    private int _rows, _inputStride, _outputStride;

    /// <summary>Products on some threads.</summary>
    /// <param name="kernel">Kernel.</param>
    /// <param name="lanes">Threads.</param>
    /// <param name="largestQuantisedPanel">Elements of the largest panel that has to be widened.</param>
    public MatrixProduct(TileKernel<T> kernel, ComputeLanes lanes, int largestQuantisedPanel)
    {
        _kernel = kernel;
        _lanes = lanes;
        _widenedElements = largestQuantisedPanel;
        _widened = new NativeBuffer((long)lanes.Count * largestQuantisedPanel * sizeof(T));
        _tiles = new NativeBuffer((long)lanes.Count * TileKernel<T>.MaxRows * Columns * sizeof(float));
        _panel = Panel;
    }

    /// <summary>Multiplies rows by the matrix.</summary>
    /// <param name="matrix">Matrix.</param>
    /// <param name="input">Rows, padded to the matrix's inputs with finite numbers.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="output">Rows of fp32 (of elements for <see cref="ProductUse.Gate"/>), padded to whole panels.</param>
    /// <param name="outputStride">Elements from row to row of the output.</param>
    /// <param name="use">What becomes of it.</param>
    /// <param name="bias">Added to each row, padded to whole panels; or null.</param>
    /// <param name="adapters">What adapters add to the product of some rows; null for nothing.</param>
    public void Run(
        PackedMatrix<T> matrix, RowBuffer<T> input, int rows, void* output, int outputStride, ProductUse use, float* bias,
        AdapterProducts<T>? adapters = null)
    {
        _adapters = adapters;
        (_matrix, _use, _rows) = (matrix, use, rows);
        (_inputStride, _outputStride) = (input.Stride, outputStride);
        _input = input.Row(0);
        _output = output;
        _bias = bias;
        _lanes.Run(matrix.PanelCount, (long)matrix.PanelElements * matrix.PanelCount * rows >= ParallelWork, _panel);
    }

    public void Dispose()
    {
        _widened.Dispose();
        _tiles.Dispose();
    }

    private void Panel(int index, int lane)
    {
        if (_matrix is not { } matrix)
            return;
        var panel = matrix.Panel(index, _widened.Pointer<T>() + ((long)lane * _widenedElements));
        var scales = matrix.Scales(index);
        var bias = _bias == null ? null : _bias + (index * Columns);
        var tile = _tiles.Pointer<float>() + ((long)lane * TileKernel<T>.MaxRows * Columns);
        // Where adapters add to quantised products, those are scaled before.
        var finishScales = _adapters is null ? scales : null;
        var direct = _use != ProductUse.Gate && scales == null && bias == null;
        var groups = (_rows + TileKernel<T>.MaxRows - 1) / TileKernel<T>.MaxRows;
        for (var group = 0; group < groups; group++)
        {
            var first = (int)((long)_rows * group / groups);
            var count = (int)((long)_rows * (group + 1) / groups) - first;
            var input = _input + ((long)first * _inputStride);
            var output = (float*)_output + ((long)first * _outputStride) + (index * Columns);
            if (direct)
            {
                _kernel.Multiply(
                    count, input, _inputStride * sizeof(T), panel, matrix.Rounds, output, _outputStride * sizeof(float),
                    add: _use == ProductUse.Add);
                _adapters?.AddTo(index, first, count, output, _outputStride * sizeof(float));
                continue;
            }

            _kernel.Multiply(count, input, _inputStride * sizeof(T), panel, matrix.Rounds, tile, Columns * sizeof(float), add: false);
            if (_adapters is { } adapters)
            {
                Scale(tile, count, scales);
                adapters.AddTo(index, first, count, tile, Columns * sizeof(float));
            }

            if (_use == ProductUse.Gate)
                Gate(tile, count, finishScales, (T*)_output + ((long)first * _outputStride) + (index * Half));
            else
                Finish(tile, count, finishScales, bias, output);
        }
    }

    private static void Scale(float* tile, int rows, float* scales)
    {
        for (var row = 0; scales != null && row < rows; row++, tile += Columns)
        {
            (Vector512.Load(tile) * Vector512.Load(scales)).Store(tile);
            (Vector512.Load(tile + Half) * Vector512.Load(scales + Half)).Store(tile + Half);
        }
    }

    private void Finish(float* tile, int rows, float* scales, float* bias, float* output)
    {
        for (var row = 0; row < rows; row++, tile += Columns, output += _outputStride)
        {
            for (var half = 0; half < Columns; half += Half)
            {
                var value = Vector512.Load(tile + half);
                if (scales != null)
                    value *= Vector512.Load(scales + half);
                if (bias != null)
                    value += Vector512.Load(bias + half);
                if (_use == ProductUse.Add)
                    value += Vector512.Load(output + half);
                value.Store(output + half);
            }
        }
    }

    private void Gate(float* tile, int rows, float* scales, T* output)
    {
        for (var row = 0; row < rows; row++, tile += Columns, output += _outputStride)
        {
            var (gate, factor) = (Vector512.Load(tile), Vector512.Load(tile + Half));
            if (scales != null)
                (gate, factor) = (gate * Vector512.Load(scales), factor * Vector512.Load(scales + Half));
            T.Store(output, RowKernels.Gated(gate, factor));
        }
    }
}
