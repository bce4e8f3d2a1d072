using Platform.Serving.Execution.Kernels;

namespace Platform.Serving.Execution.Adapters;

/// <summary>
/// What adapters add to the products of their rows: <c>s·B·(A·x)</c> on the kernels of the model's own products. A row's inner
/// product is rounded to elements as every input of a product is; each sum has one order, so a row's bits depend on nothing but
/// the row and its adapter, and rows without an adapter are not touched.
/// </summary>
internal sealed unsafe class AdapterProducts<T> : IDisposable
    where T : unmanaged, IElement<T>
{
    private const int Columns = TileKernel<T>.Columns;

    // Below this many multiplications, waking another thread costs more than it saves.
    private const long ParallelWork = 1 << 15;

    private readonly IReadOnlyList<AdapterWeights<T>> _adapters;
    private readonly TileKernel<T> _kernel;
    private readonly ComputeLanes _lanes;
    private readonly RowBuffer<T> _inner;
    private readonly NativeBuffer _tiles;
    private readonly Action<int, int> _reduce;

    // The site that is computed now: its rows, and the factors of each run, null where the adapter changes nothing.
    private readonly AdapterFactors<T>?[] _factors;
    private IReadOnlyList<AdapterRun> _runs = [];
    private T* _input;
    private int _inputStride;

    /// <summary>Products with adapters, which are owned from now on.</summary>
    /// <param name="adapters">Adapters, number 1 first.</param>
    /// <param name="kernel">Kernel of the model's products.</param>
    /// <param name="lanes">Threads.</param>
    /// <param name="maxRows">Most rows of an iteration.</param>
    public AdapterProducts(IReadOnlyList<AdapterWeights<T>> adapters, TileKernel<T> kernel, ComputeLanes lanes, int maxRows)
    {
        _adapters = adapters;
        _kernel = kernel;
        _lanes = lanes;
        _inner = new RowBuffer<T>(maxRows, adapters.Max(adapter => adapter.WidestInner));
        _tiles = new NativeBuffer((long)lanes.Count * TileKernel<T>.MaxRows * Columns * sizeof(float));
        _factors = new AdapterFactors<T>?[adapters.Count];
        _reduce = ReduceItem;
    }

    /// <summary>Begins an iteration.</summary>
    /// <param name="runs">Its rows with adapters; must stay as they are until the next one begins.</param>
    public void Begin(IReadOnlyList<AdapterRun> runs) => _runs = runs;

    /// <summary>Computes the inner products <c>A·x</c> of a site.</summary>
    /// <param name="layer">Layer.</param>
    /// <param name="site">Site.</param>
    /// <param name="input">The site's inputs.</param>
    /// <returns>This, to be handed to the site's product; null when nothing is to be added there.</returns>
    public AdapterProducts<T>? Reduce(int layer, AdapterSite site, RowBuffer<T> input)
    {
        var items = 0;
        var work = 0L;
        for (var i = 0; i < _runs.Count; i++)
        {
            var factors = _factors[i] = _adapters[_runs[i].Adapter - 1].At(layer, site);
            if (factors is null)
                continue;
            items += Groups(_runs[i].Count) * factors.A.PanelCount;
            work += (long)_runs[i].Count * factors.A.PanelElements * factors.A.PanelCount;
        }

        if (items == 0)
            return null;
        _input = input.Row(0);
        _inputStride = input.Stride;
        _lanes.Run(items, work >= ParallelWork, _reduce);
        return this;
    }

    /// <summary>Adds <c>s·B·(A·x)</c> to some rows of a panel's products.</summary>
    /// <param name="panel">Panel of the site's matrix.</param>
    /// <param name="first">First row.</param>
    /// <param name="count">Rows, at most <see cref="TileKernel{T}.MaxRows"/>.</param>
    /// <param name="target">The panel's products of the first row.</param>
    /// <param name="stride">Bytes from row to row.</param>
    public void AddTo(int panel, int first, int count, float* target, nint stride)
    {
        for (var i = 0; i < _runs.Count; i++)
        {
            if (_factors[i] is not { } factors)
                continue;
            var start = Math.Max(first, _runs[i].First);
            var rows = Math.Min(first + count, _runs[i].First + _runs[i].Count) - start;
            if (rows <= 0)
                continue;
            _kernel.Multiply(
                rows, _inner.Row(start), _inner.Stride * sizeof(T), factors.B.Panel(panel, null), factors.B.Rounds,
                (float*)((byte*)target + ((start - first) * stride)), stride, add: true);
        }
    }

    public void Dispose()
    {
        foreach (var adapter in _adapters)
            adapter.Dispose();
        _inner.Dispose();
        _tiles.Dispose();
    }

    private static int Groups(int rows) => (rows + TileKernel<T>.MaxRows - 1) / TileKernel<T>.MaxRows;

    private void ReduceItem(int item, int lane)
    {
        for (var i = 0; i < _runs.Count; i++)
        {
            if (_factors[i] is not { } factors)
                continue;
            var (run, groups) = (_runs[i], Groups(_runs[i].Count));
            if (item >= groups * factors.A.PanelCount)
            {
                item -= groups * factors.A.PanelCount;
                continue;
            }

            var (panel, group) = (item / groups, item % groups);
            var first = run.First + (int)((long)run.Count * group / groups);
            var rows = run.First + (int)((long)run.Count * (group + 1) / groups) - first;
            var tile = _tiles.Pointer<float>() + ((long)lane * TileKernel<T>.MaxRows * Columns);
            _kernel.Multiply(
                rows, _input + ((long)first * _inputStride), _inputStride * sizeof(T), factors.A.Panel(panel, null), factors.A.Rounds, tile,
                Columns * sizeof(float), add: false);
            for (var row = 0; row < rows; row++)
                RowKernels.Narrow(tile + (row * Columns), _inner.Row(first + row) + (panel * Columns), Columns);
            return;
        }
    }
}
