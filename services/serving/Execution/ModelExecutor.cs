using Platform.Core.Models;
using Platform.Serving.Core.Scheduling;
using Platform.Torch;
using Platform.Torch.Models.Llama;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Serving.Execution;

/// <summary>Sizes of an executor's buffers.</summary>
/// <param name="MaxBatchedTokens">Most rows of an iteration.</param>
/// <param name="MaxContext">Longest sequence.</param>
/// <param name="BlockSize">Tokens per cache block; a multiple of 16.</param>
/// <param name="BlockCount">Cache blocks.</param>
internal sealed record ExecutorLimits(int MaxBatchedTokens, int MaxContext, int BlockSize, int BlockCount);

/// <summary>
/// The decoder over packed rows of many sequences. Matrix products are libtorch's, each over all rows at once; everything
/// between them is done by our own kernels on the products' memory, with the residual stream in fp32.
/// Shapes: T rows, E hidden, H query heads, K key/value heads, D head size, F intermediate, V vocabulary.
/// </summary>
internal sealed unsafe class ModelExecutor<T> : IModelExecutor
    where T : unmanaged, IElement<T>
{
    // Below these amounts of work, waking another thread costs more than it saves.
    private const long ParallelElements = 1 << 16;
    private const long ParallelAttention = 1 << 15;

    private readonly ModelWeights _weights;
    private readonly KeyValueCache<T> _cache;
    private readonly ComputeLanes _lanes;
    private readonly RowPadding _fallback;
    private RowPadding _padding;
    private readonly IterationBatch _batch;
    private readonly NativeBuffer _residual;
    private readonly NativeBuffer _queries;
    private readonly NativeBuffer _rotated;
    private readonly NativeBuffer _scratch;
    private readonly NativeBuffer _cosines;
    private readonly NativeBuffer _sines;
    private readonly Tensor _hidden_TE;
    private readonly Tensor _attended_TA;
    private readonly Tensor _gated_TF;
    private readonly int _scratchFloats;

    // Arguments of the kernel that runs now; the delegates are made once so that an iteration allocates none.
    private readonly Action<int, int> _embedRow, _normaliseRow, _rotateRow, _attendTile, _gateRow, _finishRow;
    private int _layerIndex;
    private T* _product;
    private float* _norm, _queryNorm, _keyNorm;

    // Memory of tensors that live as long as the executor.
    private readonly T* _embedding, _hidden, _attended, _gated;

    /// <summary>An executor that owns the given weights from now on.</summary>
    /// <param name="weights">Weights.</param>
    /// <param name="limits">Sizes.</param>
    /// <param name="padding">Padding of products.</param>
    /// <param name="fallback">Padding after <see cref="UseFallbackPadding"/>.</param>
    /// <param name="lanes">Threads of the kernels; owned as well.</param>
    public ModelExecutor(ModelWeights weights, ExecutorLimits limits, RowPadding padding, RowPadding fallback, ComputeLanes lanes)
    {
        _weights = weights;
        _lanes = lanes;
        (_padding, _fallback) = (padding, fallback);
        var config = weights.Config;
        _cache = new KeyValueCache<T>(KeyValueCacheShape.Of(config, limits.BlockSize, limits.BlockCount));
        _batch = new IterationBatch(limits.MaxBatchedTokens);
        long rows = Math.Max(padding.Rows(limits.MaxBatchedTokens), fallback.Rows(limits.MaxBatchedTokens));
        long queries = config.NumAttentionHeads * config.HeadDim;
        _residual = new NativeBuffer(rows * config.HiddenSize * sizeof(float));
        _queries = new NativeBuffer(rows * queries * sizeof(float));
        _rotated = new NativeBuffer(lanes.Count * config.HeadDim * sizeof(float));
        _scratchFloats = PagedAttention.ScratchFloats(limits.MaxContext);
        _scratch = new NativeBuffer((long)lanes.Count * _scratchFloats * sizeof(float));
        (_cosines, _sines) = RotaryTables(config, limits.MaxContext);
        _hidden_TE = Rows(config.HiddenSize);
        _attended_TA = Rows(queries);
        _gated_TF = Rows(config.IntermediateSize);
        _embedding = Pointer(weights.Embedding);
        _hidden = Pointer(_hidden_TE);
        _attended = Pointer(_attended_TA);
        _gated = Pointer(_gated_TF);
        _embedRow = EmbedRow;
        _normaliseRow = NormaliseRow;
        _rotateRow = RotateRow;
        _attendTile = AttendTile;
        _gateRow = GateRow;
        _finishRow = FinishRow;

        Tensor Rows(long width) => torch.zeros([rows, width], dtype: T.Type).DetachFromDisposeScope();
    }

    public ModelConfig Config => _weights.Config;

    public void Run(ReadOnlySpan<ScheduledSpan> spans, LogitRows logits)
    {
        using var scope = torch.NewDisposeScope();
        using var withoutGradients = torch.no_grad();
        _batch.Fill(spans, Config.HeadsPerKeyValueHead);
        var rows = _batch.RowCount;
        ForRows(rows, Config.HiddenSize, _embedRow);
        _product = null;
        Tensor? product = null;
        for (var layer = 0; layer < Config.NumHiddenLayers; layer++)
        {
            var weights = _weights.Layers[layer];
            _layerIndex = layer;
            _queryNorm = Vector(weights.QueryNorm);
            _keyNorm = Vector(weights.KeyNorm);
            Normalise(rows, weights.InputNorm);
            Multiply(ref product, _hidden_TE, rows, weights.QueryKeyValue, weights.QueryKeyValueBias);
            ForRows(rows, weights.QueryKeyValue.shape[0], _rotateRow);
            _lanes.Run(
                _batch.Tiles.Count * Config.NumKeyValueHeads,
                _batch.AttentionPairs * Config.NumAttentionHeads * Config.HeadDim >= ParallelAttention, _attendTile);
            Multiply(ref product, _attended_TA, rows, weights.AttentionOutput, null);
            Normalise(rows, weights.PostAttentionNorm);
            Multiply(ref product, _hidden_TE, rows, weights.GateUp, null);
            ForRows(rows, 2L * Config.IntermediateSize, _gateRow);
            Multiply(ref product, _gated_TF, rows, weights.Down, null);
        }

        Head(ref product, logits);
        product?.Dispose();
        _product = null;
    }

    /// <summary>Gives up the cheap padding for the safe one.</summary>
    public void UseFallbackPadding() => _padding = _fallback;

    public void Dispose()
    {
        _lanes.Dispose();
        _weights.Dispose();
        _cache.Dispose();
        foreach (var buffer in new[] { _residual, _queries, _rotated, _scratch, _cosines, _sines })
            buffer.Dispose();
        foreach (var tensor in new[] { _hidden_TE, _attended_TA, _gated_TF })
            tensor.Dispose();
    }

    private static (NativeBuffer Cosines, NativeBuffer Sines) RotaryTables(ModelConfig config, int positions)
    {
        var frequencies = RotaryEmbedding.InverseFrequencies(config);
        var cosines = new NativeBuffer((long)positions * frequencies.Length * sizeof(float));
        var sines = new NativeBuffer((long)positions * frequencies.Length * sizeof(float));
        for (var position = 0; position < positions; position++)
        {
            for (var d = 0; d < frequencies.Length; d++)
            {
                var (sine, cosine) = Math.SinCos(position * frequencies[d]);
                cosines.Pointer<float>()[((long)position * frequencies.Length) + d] = (float)cosine;
                sines.Pointer<float>()[((long)position * frequencies.Length) + d] = (float)sine;
            }
        }

        return (cosines, sines);
    }

    private static T* Pointer(Tensor tensor) => (T*)TensorMemory.DataPointer(tensor);

    private void ForRows(int rows, long width, Action<int, int> kernel) => _lanes.Run(rows, rows * width >= ParallelElements, kernel);

    private void Normalise(int rows, Tensor weight)
    {
        _norm = Vector(weight);
        ForRows(rows, Config.HiddenSize, _normaliseRow);
    }

    /// <summary>Replaces the current product by <c>input · weightᵀ + bias</c> over the rows in use and their padding.</summary>
    private void Multiply(ref Tensor? product, Tensor input, int rows, Tensor weight, Tensor? bias)
    {
        product?.Dispose();
        product = Product(input, rows, weight, bias);
        _product = Pointer(product);
    }

    private Tensor Product(Tensor input, int rows, Tensor weight, Tensor? bias)
    {
        var (padded, each) = (_padding.Rows(rows), _padding.RowsPerProduct(rows));
        if (each == padded)
        {
            using var all = input.narrow(0, 0, padded);
            return torch.nn.functional.linear(all, weight, bias);
        }

        var whole = torch.empty([padded, weight.shape[0]], dtype: T.Type);
        for (var first = 0; first < padded; first += each)
        {
            using var some = input.narrow(0, first, each);
            using var part = torch.nn.functional.linear(some, weight, bias);
            using var target = whole.narrow(0, first, each);
            target.copy_(part);
        }

        return whole;
    }

    private void Head(ref Tensor? product, LogitRows logits)
    {
        var count = _batch.SampleRows.Count;
        logits.Resize(count);
        if (count == 0)
            return;
        _norm = Vector(_weights.FinalNorm);
        ForRows(count, Config.HiddenSize, _finishRow);
        Multiply(ref product, _hidden_TE, count, _weights.Head, null);
        for (var i = 0; i < count; i++)
        {
            fixed (float* target = logits.Row(i))
                RowKernels.Widen(_product + ((long)i * Config.VocabSize), target, Config.VocabSize);
        }
    }

    private float* Residual(int row) => _residual.Pointer<float>() + ((long)row * Config.HiddenSize);

    private void EmbedRow(int row, int lane) => RowKernels.Widen(
        _embedding + ((long)_batch.Tokens[row] * Config.HiddenSize), Residual(row), Config.HiddenSize);

    private void NormaliseRow(int row, int lane) => NormaliseInto(row, row);

    // The hidden rows of the last layer are gathered at the front, where the head reads them.
    private void FinishRow(int index, int lane) => NormaliseInto(_batch.SampleRows[index], index);

    private void NormaliseInto(int row, int target)
    {
        var width = Config.HiddenSize;
        if (_product != null)
            RowKernels.Add(Residual(row), _product + ((long)row * width), width);
        RowKernels.Normalise(Residual(row), _norm, Config.RmsNormEps, _hidden + ((long)target * width), width);
    }

    private void RotateRow(int row, int lane)
    {
        int size = Config.HeadDim, heads = Config.NumAttentionHeads, keyHeads = Config.NumKeyValueHeads;
        var position = _batch.Positions[row];
        var cosine = _cosines.Pointer<float>() + ((long)position * (size / 2));
        var sine = _sines.Pointer<float>() + ((long)position * (size / 2));
        var source = _product + ((long)row * (heads + (2 * keyHeads)) * size);
        var queries = _queries.Pointer<float>() + ((long)row * heads * size);
        var scale = (float)(1 / Math.Sqrt(size));
        for (var head = 0; head < heads; head++)
            RowKernels.Rotate(source + (head * size), _queryNorm, Config.RmsNormEps, cosine, sine, scale, queries + (head * size), size);

        var key = _rotated.Pointer<float>() + (lane * size);
        var blockSize = _cache.Shape.BlockSize;
        var block = _batch.Sequences[_batch.SpanOfRow[row]].Blocks[position / blockSize];
        for (var head = 0; head < keyHeads; head++)
        {
            RowKernels.Rotate(source + ((heads + head) * size), _keyNorm, Config.RmsNormEps, cosine, sine, 1, key, size);
            _cache.Write(_layerIndex, block, position % blockSize, head, key, source + ((heads + keyHeads + head) * size));
        }
    }

    private void AttendTile(int item, int lane)
    {
        int size = Config.HeadDim, heads = Config.NumAttentionHeads, group = Config.HeadsPerKeyValueHead;
        var head = item % Config.NumKeyValueHeads;
        var tile = _batch.Tiles[item / Config.NumKeyValueHeads];
        var queries = stackalloc float*[PagedAttention.MaxRows];
        var results = stackalloc T*[PagedAttention.MaxRows];
        var limits = stackalloc int[PagedAttention.MaxRows];
        for (var i = 0; i < tile.Count; i++)
        {
            var row = _batch.FirstRows[tile.Span] + ((tile.FirstQuery + i) / group);
            var offset = (((long)row * heads) + (head * group) + ((tile.FirstQuery + i) % group)) * size;
            queries[i] = _queries.Pointer<float>() + offset;
            results[i] = _attended + offset;
            limits[i] = _batch.Positions[row] + 1;
        }

        PagedAttention.Attend(
            _cache.Shape, _cache.Keys(_layerIndex), _cache.Values(_layerIndex), _batch.Sequences[tile.Span].Blocks, head,
            queries, limits, tile.Count, results, _scratch.Pointer<float>() + ((long)lane * _scratchFloats));
    }

    private void GateRow(int row, int lane)
    {
        var width = Config.IntermediateSize;
        RowKernels.Gate(_product + ((long)row * 2 * width), _gated + ((long)row * width), width);
    }

    private static float* Vector(Tensor? tensor) => tensor is null ? null : (float*)TensorMemory.DataPointer(tensor);
}
