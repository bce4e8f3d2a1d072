using Platform.Core.Models;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Execution.Adapters;
using Platform.Serving.Execution.Kernels;
using Platform.Serving.Execution.Sharding;
using Platform.Torch.Models.Llama;

namespace Platform.Serving.Execution;

/// <summary>Sizes of an executor's buffers.</summary>
/// <param name="MaxBatchedTokens">Most rows of an iteration.</param>
/// <param name="MaxContext">Longest sequence.</param>
/// <param name="BlockSize">Tokens per cache block; a multiple of 16.</param>
/// <param name="BlockCount">Cache blocks.</param>
internal sealed record ExecutorLimits(int MaxBatchedTokens, int MaxContext, int BlockSize, int BlockCount);

/// <summary>
/// The decoder over packed rows of many sequences, on our own kernels throughout: one path for every number of rows, the
/// residual stream in fp32, elements only where a product reads them. An iteration allocates no managed memory of its own.
/// With peers it computes its share of heads, units and tokens; after attention and MLP the shares are summed, so that the
/// residual stream is the same on all of them.
/// Shapes: T rows, E hidden, H query heads, K key/value heads, D head size, F intermediate, V vocabulary.
/// </summary>
internal sealed unsafe class ModelExecutor<T> : IModelExecutor, IModelShard
    where T : unmanaged, IElement<T>
{
    // Below these amounts of work, waking another thread costs more than it saves.
    private const long ParallelElements = 1 << 13;
    private const long ParallelAttention = 1 << 15;

    private readonly ModelWeights<T> _weights;
    private readonly ModelConfig _local;
    private readonly TensorPeers? _peers;
    private readonly ShardRange _tokens;
    private readonly LogitRows _shardLogits;
    private readonly ProductUse _share;
    private readonly KeyValueCache<T> _cache;
    private readonly ComputeLanes _lanes;
    private readonly MatrixProduct<T> _product;
    private readonly AdapterProducts<T>? _adapters;
    private readonly IterationBatch _batch;
    private readonly RowBuffer<float> _residual_TE;
    private readonly RowBuffer<float> _projected_TP;
    private readonly RowBuffer<T> _hidden_TE;
    private readonly RowBuffer<T> _attended_TA;
    private readonly RowBuffer<T> _gated_TF;
    private readonly NativeBuffer _scratch;
    private readonly NativeBuffer _cosines;
    private readonly NativeBuffer _sines;
    private readonly int _scratchFloats;

    // Arguments of the kernel that runs now; the delegates are made once so that an iteration allocates none.
    private readonly Action<int, int> _embedRow, _normaliseRow, _rotateRow, _attendTile, _finishRow;
    private int _layerIndex;
    private float* _norm, _queryNorm, _keyNorm;

    /// <summary>An executor that owns the given weights from now on.</summary>
    /// <param name="weights">Weights.</param>
    /// <param name="limits">Sizes.</param>
    /// <param name="kernel">Kernel of the matrix products.</param>
    /// <param name="lanes">Threads of the kernels; owned as well.</param>
    /// <param name="peers">Ranks that hold the other shares, owned as well; null when the weights are all there are.</param>
    /// <param name="adapters">Adapters that sequences may use, number 1 first; owned as well.</param>
    public ModelExecutor(
        ModelWeights<T> weights, ExecutorLimits limits, TileKernel<T> kernel, ComputeLanes lanes, TensorPeers? peers = null,
        IReadOnlyList<AdapterWeights<T>>? adapters = null)
    {
        if (weights.Shard != (peers?.Shard ?? TensorShard.Whole))
            throw new ArgumentException($"The weights are those of {weights.Shard}.", nameof(peers));
        _adapters = adapters is { Count: > 0 } ? new AdapterProducts<T>(adapters, kernel, lanes, limits.MaxBatchedTokens) : null;
        _weights = weights;
        _lanes = lanes;
        _peers = peers;
        var config = _local = weights.Local;
        _tokens = weights.Shard.Vocabulary(weights.Config);
        _shardLogits = new LogitRows(peers is null ? 0 : (weights.Shard with { Rank = 0 }).Vocabulary(weights.Config).Count);
        // The first rank adds its share to the stream, the others bring theirs, and the sum is the stream and all shares.
        _share = weights.Shard.Rank == 0 ? ProductUse.Add : ProductUse.Store;
        _cache = new KeyValueCache<T>(KeyValueCacheShape.Of(config, limits.BlockSize, limits.BlockCount));
        _product = new MatrixProduct<T>(kernel, lanes, weights.LargestQuantisedPanel);
        _batch = new IterationBatch(limits.MaxBatchedTokens, config.HeadsPerKeyValueHead);
        _residual_TE = new(limits.MaxBatchedTokens, config.HiddenSize);
        _projected_TP = new(limits.MaxBatchedTokens, (config.NumAttentionHeads + (2 * config.NumKeyValueHeads)) * config.HeadDim);
        _hidden_TE = new(limits.MaxBatchedTokens, config.HiddenSize);
        _attended_TA = new(limits.MaxBatchedTokens, config.NumAttentionHeads * config.HeadDim);
        _gated_TF = new(limits.MaxBatchedTokens, config.IntermediateSize);
        _scratchFloats = PagedAttention.ScratchFloats(limits.MaxContext);
        _scratch = new NativeBuffer((long)lanes.Count * _scratchFloats * sizeof(float));
        (_cosines, _sines) = RotaryTables(config, limits.MaxContext);
        _embedRow = EmbedRow;
        _normaliseRow = NormaliseRow;
        _rotateRow = RotateRow;
        _attendTile = AttendTile;
        _finishRow = FinishRow;
        peers?.Prepare(IterationBatch.MostNumbers(limits.MaxBatchedTokens, (limits.MaxContext + limits.BlockSize - 1) / limits.BlockSize));
    }

    public ModelConfig Config => _weights.Config;

    public void Run(ReadOnlySpan<ScheduledSpan> spans, LogitRows logits)
    {
        _batch.Fill(spans);
        if (_peers is null)
        {
            Decode();
            Head(logits);
            return;
        }

        try
        {
            _peers.Begin(_batch);
            Decode();
            Head(logits);
            CollectLogits(_peers, logits);
        }
        catch (Exception exception)
        {
            _peers.Fail(exception);
            throw;
        }
        finally
        {
            _peers.End();
        }
    }

    public void Follow(Action began)
    {
        if (_peers is not { Leads: false } peers)
            throw new InvalidOperationException("Only ranks after the first follow.");
        while (peers.Receive(_batch))
        {
            began();
            Decode();
            Head(_shardLogits);
            if (_shardLogits.Count > 0 && _tokens.Count > 0)
                peers.Send(_shardLogits.Start, (long)_shardLogits.Count * _shardLogits.Stride);
        }
    }

    public void ReadHidden(int row, Span<float> target)
    {
        fixed (float* result = target)
            RowKernels.Normalise(_residual_TE.Row(_batch.RowOf[row]), Floats(_weights.FinalNorm), Config.RmsNormEps, (Float32Element*)result, Config.HiddenSize);
    }

    public void Dispose()
    {
        _peers?.Dispose();
        _lanes.Dispose();
        _weights.Dispose();
        _cache.Dispose();
        _adapters?.Dispose();
        foreach (var memory in (IDisposable[])[_product, _residual_TE, _projected_TP, _hidden_TE, _attended_TA, _gated_TF, _scratch, _cosines, _sines])
            memory.Dispose();
    }

    private void Decode()
    {
        var rows = _batch.RowCount;
        _adapters?.Begin(_batch.AdapterRuns);
        ForRows(rows, Config.HiddenSize, _embedRow);
        SumShares(rows);
        for (var layer = 0; layer < Config.NumHiddenLayers; layer++)
        {
            var weights = _weights.Layers[layer];
            _layerIndex = layer;
            _queryNorm = Floats(weights.QueryNorm);
            _keyNorm = Floats(weights.KeyNorm);
            Normalise(rows, weights.InputNorm);
            _product.Run(
                weights.QueryKeyValue, _hidden_TE, rows, _projected_TP.Row(0), _projected_TP.Stride, ProductUse.Store, Floats(weights.QueryKeyValueBias),
                _adapters?.Reduce(layer, AdapterSite.QueryKeyValue, _hidden_TE));
            ForRows(rows, weights.QueryKeyValue.Outputs, _rotateRow);
            _lanes.Run(
                _batch.Tiles.Count * _local.NumKeyValueHeads,
                _batch.AttentionPairs * _local.NumAttentionHeads * _local.HeadDim >= ParallelAttention, _attendTile);
            _product.Run(
                weights.AttentionOutput, _attended_TA, rows, _residual_TE.Row(0), _residual_TE.Stride, _share, null,
                _adapters?.Reduce(layer, AdapterSite.AttentionOutput, _attended_TA));
            SumShares(rows);
            Normalise(rows, weights.PostAttentionNorm);
            _product.Run(
                weights.GateUp, _hidden_TE, rows, _gated_TF.Row(0), _gated_TF.Stride, ProductUse.Gate, null,
                _adapters?.Reduce(layer, AdapterSite.GateUp, _hidden_TE));
            _product.Run(
                weights.Down, _gated_TF, rows, _residual_TE.Row(0), _residual_TE.Stride, _share, null,
                _adapters?.Reduce(layer, AdapterSite.Down, _gated_TF));
            SumShares(rows);
        }
    }

    private void SumShares(int rows) => _peers?.Sum(_residual_TE.Row(0), (long)rows * _residual_TE.Stride);

    private static (NativeBuffer Cosines, NativeBuffer Sines) RotaryTables(ModelConfig config, int positions)
    {
        var frequencies = RotaryEmbedding.InverseFrequencies(config);
        var factor = RotaryEmbedding.AttentionFactor(config);
        var cosines = new NativeBuffer((long)positions * frequencies.Length * sizeof(float));
        var sines = new NativeBuffer((long)positions * frequencies.Length * sizeof(float));
        for (var position = 0; position < positions; position++)
        {
            for (var d = 0; d < frequencies.Length; d++)
            {
                var (sine, cosine) = Math.SinCos(position * frequencies[d]);
                cosines.Pointer<float>()[((long)position * frequencies.Length) + d] = (float)(cosine * factor);
                sines.Pointer<float>()[((long)position * frequencies.Length) + d] = (float)(sine * factor);
            }
        }

        return (cosines, sines);
    }

    private static float* Floats(NativeBuffer? memory) => memory is null ? null : memory.Pointer<float>();

    private void ForRows(int rows, long width, Action<int, int> kernel) => _lanes.Run(rows, rows * width >= ParallelElements, kernel);

    private void Normalise(int rows, NativeBuffer weight)
    {
        _norm = Floats(weight);
        ForRows(rows, Config.HiddenSize, _normaliseRow);
    }

    private void Head(LogitRows logits)
    {
        var count = _batch.SampleRows.Count;
        logits.Resize(count);
        if (count == 0)
            return;
        _norm = Floats(_weights.FinalNorm);
        ForRows(count, Config.HiddenSize, _finishRow);
        _product.Run(_weights.Head, _hidden_TE, count, logits.Start, logits.Stride, ProductUse.Store, null);
    }

    /// <summary>Puts the logits of the other ranks' tokens beside this one's.</summary>
    private void CollectLogits(TensorPeers peers, LogitRows logits)
    {
        for (var peer = 1; peer < peers.Shard.Width && logits.Count > 0; peer++)
        {
            var tokens = (peers.Shard with { Rank = peer }).Vocabulary(Config);
            if (tokens.Count == 0)
                break;
            _shardLogits.Resize(logits.Count);
            peers.Receive(peer, _shardLogits.Start, (long)logits.Count * _shardLogits.Stride);
            for (var row = 0; row < logits.Count; row++)
                _shardLogits[row][..tokens.Count].CopyTo(logits.Row(row)[tokens.First..]);
        }
    }

    private void EmbedRow(int row, int lane)
    {
        var token = _batch.Tokens[row];
        if (_tokens.Contains(token))
            RowKernels.Widen(_weights.Embedding.Pointer<T>() + ((long)(token - _tokens.First) * Config.HiddenSize), _residual_TE.Row(row), Config.HiddenSize);
        else
            new Span<float>(_residual_TE.Row(row), Config.HiddenSize).Clear();
    }

    private void NormaliseRow(int row, int lane) => NormaliseInto(row, row);

    // The hidden rows of the last layer are gathered at the front, where the head reads them.
    private void FinishRow(int index, int lane) => NormaliseInto(_batch.SampleRows[index], index);

    private void NormaliseInto(int row, int target) =>
        RowKernels.Normalise(_residual_TE.Row(row), _norm, Config.RmsNormEps, _hidden_TE.Row(target), Config.HiddenSize);

    private void RotateRow(int row, int lane)
    {
        int size = _local.HeadDim, heads = _local.NumAttentionHeads, keyHeads = _local.NumKeyValueHeads;
        var position = _batch.Positions[row];
        var cosine = _cosines.Pointer<float>() + ((long)position * (size / 2));
        var sine = _sines.Pointer<float>() + ((long)position * (size / 2));
        var query = _projected_TP.Row(row);
        var key = query + (heads * size);
        var value = key + (keyHeads * size);
        var scale = (float)(1 / Math.Sqrt(size));
        for (var head = 0; head < heads; head++, query += size)
            RowKernels.Rotate(query, _queryNorm, Config.RmsNormEps, cosine, sine, scale, query, size);

        var blockSize = _cache.Shape.BlockSize;
        var block = _batch.Blocks(_batch.SpanOfRow[row])[position / blockSize];
        for (var head = 0; head < keyHeads; head++, key += size, value += size)
        {
            RowKernels.Rotate(key, _keyNorm, Config.RmsNormEps, cosine, sine, 1, key, size);
            _cache.Write(_layerIndex, block, position % blockSize, head, key, value);
        }
    }

    private void AttendTile(int item, int lane)
    {
        int size = _local.HeadDim, group = _local.HeadsPerKeyValueHead;
        // Tiles of one head follow one another: what a long prompt's tiles read is then still in the cache of their processor.
        var head = item / _batch.Tiles.Count;
        var tile = _batch.Tiles[item % _batch.Tiles.Count];
        var queries = stackalloc float*[PagedAttention.MaxRows];
        var results = stackalloc T*[PagedAttention.MaxRows];
        var limits = stackalloc int[PagedAttention.MaxRows];
        for (var i = 0; i < tile.Count; i++)
        {
            var row = _batch.FirstRows[tile.Span] + ((tile.FirstQuery + i) / group);
            var offset = ((head * group) + ((tile.FirstQuery + i) % group)) * size;
            queries[i] = _projected_TP.Row(row) + offset;
            results[i] = _attended_TA.Row(row) + offset;
            limits[i] = _batch.Positions[row] + 1;
        }

        PagedAttention.Attend(
            _cache.Shape, _cache.Keys(_layerIndex), _cache.Values(_layerIndex), _batch.Blocks(tile.Span), head,
            queries, limits, tile.Count, results, _scratch.Pointer<float>() + ((long)lane * _scratchFloats));
    }
}
