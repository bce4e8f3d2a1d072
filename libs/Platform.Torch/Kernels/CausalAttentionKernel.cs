using System.Runtime.Intrinsics;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

// Shapes: B batch, H query heads, K key/value heads (H a multiple of K), T positions, D head size.

/// <summary>
/// Causal grouped-query attention on the CPU, forward and backward, for training loops that drive the backward themselves.
/// Sums in fp32; inputs in bf16 are multiplied as such where the processor can (<see cref="PairedAttention"/>), else as fp32.
/// Keeps one number per row between the passes instead of the T × T weights
/// (Dao et al. 2022), never computes what the causal mask hides beyond a tile, and reduces in a fixed order: a head's bits
/// depend neither on the other heads nor on the number of threads.
/// </summary>
public static unsafe class CausalAttentionKernel
{
    [ThreadStatic]
    private static float[]? _scratch;

    /// <summary>Whether this machine and these inputs can use the kernel; where they cannot, use <see cref="Ops.ScaledDotProductAttention"/>.</summary>
    /// <param name="query">[B, H, T, D] on the CPU, in fp32 or bf16, D a multiple of 32; the machine has 512-bit vectors.</param>
    public static bool Supports(Tensor query)
    {
        ArgumentNullException.ThrowIfNull(query);
        return query.dim() == 4 && query.shape[3] <= int.MaxValue && Supports(query.device, query.dtype, (int)query.shape[3]);
    }

    /// <summary>Whether this machine can use the kernel for such inputs.</summary>
    /// <param name="device">Where the tensors are; the CPU, with 512-bit vectors.</param>
    /// <param name="type">fp32 or bf16.</param>
    /// <param name="headSize">Elements of a head, a multiple of 32.</param>
    public static bool Supports(torch.Device device, ScalarType type, int headSize)
    {
        ArgumentNullException.ThrowIfNull(device);
        return Lanes.Exist(type) && device.type == DeviceType.CPU && headSize > 0 && headSize % AttentionTiles.Columns == 0;
    }

    /// <summary>Attention with scale 1/√D.</summary>
    /// <param name="query">[B, H, T, D]; the last dimension is contiguous, the others may have any strides.</param>
    /// <param name="key">[B, K, T, D], likewise.</param>
    /// <param name="value">[B, K, T, D], likewise.</param>
    /// <returns>
    /// The result [B, T, H, D] in the query's type, contiguous; and per row the logarithm of the sum of the exponentials of its
    /// scores, fp32 [B, H, T], which <see cref="Backward"/> needs. Both belong to the caller's dispose scope; no autograd.
    /// </returns>
    /// <exception cref="ArgumentException">Shapes, types or strides are not as said.</exception>
    public static (Tensor Result_BTHD, Tensor LogSums_BHT) Forward(Tensor query, Tensor key, Tensor value)
    {
        var shape = Check(query, key, value);
        var result_BTHD = TensorMemory.Empty([shape.Batch, shape.Length, shape.Heads, shape.Size], query.dtype);
        var logSums_BHT = TensorMemory.Empty([shape.Batch, shape.Heads, shape.Length], ScalarType.Float32);
        using var result = result_BTHD.transpose(1, 2);
        var (q, k, v, o) = (Rows(query), Rows(key), Rows(value), Rows(result));
        var logSums = (float*)TensorMemory.DataPointer(logSums_BHT);
        if (IsPaired(query))
            ForEachSharedHead(shape, true, (batch, shared, memory) => PairedAttention.Forward(shape, batch, shared, memory, q, k, v, o, logSums));
        else
            ForEachSharedHead(shape, false, (batch, shared, memory) => ForwardHeads(shape, batch, shared, memory, q, k, v, o, logSums));
        KeepAlive(query, key, value);
        return (result_BTHD, logSums_BHT);
    }

    /// <summary>Gradients of <see cref="Forward"/>.</summary>
    /// <param name="gradient_BTHD">Gradient with respect to the result, [B, T, H, D], last dimension contiguous.</param>
    /// <param name="query">As given to the forward pass.</param>
    /// <param name="key">As given to the forward pass.</param>
    /// <param name="value">As given to the forward pass.</param>
    /// <param name="result_BTHD">What the forward pass returned.</param>
    /// <param name="logSums_BHT">What the forward pass returned.</param>
    /// <param name="queryGradient">Receives the gradient with respect to the query: [B, H, T, D] of its type, last dimension contiguous.</param>
    /// <param name="keyGradient">Receives that of the key, [B, K, T, D].</param>
    /// <param name="valueGradient">Receives that of the value, [B, K, T, D].</param>
    /// <exception cref="ArgumentException">Shapes, types or strides are not as said.</exception>
    public static void Backward(
        Tensor gradient_BTHD, Tensor query, Tensor key, Tensor value, Tensor result_BTHD, Tensor logSums_BHT,
        Tensor queryGradient, Tensor keyGradient, Tensor valueGradient)
    {
        var shape = Check(query, key, value);
        ArgumentNullException.ThrowIfNull(gradient_BTHD);
        ArgumentNullException.ThrowIfNull(result_BTHD);
        ArgumentNullException.ThrowIfNull(logSums_BHT);
        using var gradient = gradient_BTHD.transpose(1, 2);
        using var result = result_BTHD.transpose(1, 2);
        CheckLike(gradient, query, nameof(gradient_BTHD));
        CheckLike(result, query, nameof(result_BTHD));
        CheckLike(queryGradient, query, nameof(queryGradient));
        CheckLike(keyGradient, key, nameof(keyGradient));
        CheckLike(valueGradient, value, nameof(valueGradient));
        if (logSums_BHT.dtype != ScalarType.Float32 || !logSums_BHT.shape.AsSpan().SequenceEqual([shape.Batch, shape.Heads, shape.Length]))
            throw new ArgumentException($"Found {logSums_BHT.dtype} {TensorArgument.Shape(logSums_BHT)}.", nameof(logSums_BHT));

        var heads = new BackwardHeads(
            Rows(query), Rows(key), Rows(value), Rows(result), Rows(gradient),
            Rows(queryGradient), Rows(keyGradient), Rows(valueGradient), (float*)TensorMemory.DataPointer(logSums_BHT));
        if (IsPaired(query))
            ForEachSharedHead(shape, true, (batch, shared, memory) => PairedAttention.Backward(shape, batch, shared, memory, heads));
        else
            ForEachSharedHead(shape, false, (batch, shared, memory) => BackwardSharedHead(shape, batch, shared, memory, heads));
        KeepAlive(gradient_BTHD, query, key, value, result_BTHD, logSums_BHT, queryGradient, keyGradient, valueGradient);
    }

    private static void ForwardHeads(
        AttentionShape shape, int batch, int shared, float* memory, HeadRows q, HeadRows k, HeadRows v, HeadRows o, float* logSums)
    {
        int size = shape.Size, stride = shape.PaddedLength;
        var cut = new Scratch(memory);
        float* rows = cut.Take(stride * size), keys = cut.Take(stride * size), values = cut.Take(stride * size);
        float* turnedKeys = cut.Take(stride * size), scores = cut.Take(AttentionTiles.Rows * stride), tile = cut.Take(AttentionTiles.Rows * size);
        k.Read(batch, shared, shape.Length, stride, 1, keys);
        v.Read(batch, shared, shape.Length, stride, 1, values);
        Turn(keys, shape.Length, size, turnedKeys, stride);
        Span<float> inverse = stackalloc float[AttentionTiles.Rows];
        for (var head = shared * shape.Group; head < (shared + 1) * shape.Group; head++)
        {
            q.Read(batch, head, shape.Length, stride, shape.Scale, rows);
            var sums = logSums + (((long)batch * shape.Heads) + head) * shape.Length;
            for (var first = 0; first < shape.Length; first += AttentionTiles.Rows)
            {
                var (count, seen, padded) = shape.TileAt(first);
                AttentionTiles.Scores(rows + (first * size), size, turnedKeys, stride, padded, scores);
                for (var r = 0; r < AttentionTiles.Rows; r++)
                {
                    var row = scores + (r * stride);
                    var visible = Math.Min(first + r + 1, seen);
                    var largest = AttentionTiles.Largest(row, visible);
                    var sum = AttentionTiles.Exponentials(row, visible, padded, largest);
                    inverse[r] = 1 / sum;
                    if (r < count)
                        sums[first + r] = largest + MathF.Log(sum);
                }

                AttentionTiles.Combine(scores, stride, seen, values, size, tile);
                o.Write(batch, head, first, count, tile, inverse);
            }
        }
    }

    private static void BackwardSharedHead(AttentionShape shape, int batch, int shared, float* memory, BackwardHeads heads)
    {
        int size = shape.Size, stride = shape.PaddedLength, elements = stride * size;
        var cut = new Scratch(memory);
        float* rows = cut.Take(elements), keys = cut.Take(elements), values = cut.Take(elements);
        float* turnedKeys = cut.Take(elements), turnedValues = cut.Take(elements);
        float* results = cut.Take(elements), gradients = cut.Take(elements);
        float* keySums = cut.Take(elements), valueSums = cut.Take(elements);
        float* weights = cut.Take(AttentionTiles.Rows * stride), slopes = cut.Take(AttentionTiles.Rows * stride), tile = cut.Take(AttentionTiles.Rows * size);
        heads.Key.Read(batch, shared, shape.Length, stride, 1, keys);
        heads.Value.Read(batch, shared, shape.Length, stride, 1, values);
        Turn(keys, shape.Length, size, turnedKeys, stride);
        Turn(values, shape.Length, size, turnedValues, stride);
        new Span<float>(keySums, elements).Clear();
        new Span<float>(valueSums, elements).Clear();
        Span<float> scale = stackalloc float[AttentionTiles.Rows];
        scale.Fill(shape.Scale);

        for (var head = shared * shape.Group; head < (shared + 1) * shape.Group; head++)
        {
            heads.Query.Read(batch, head, shape.Length, stride, shape.Scale, rows);
            heads.Result.Read(batch, head, shape.Length, stride, 1, results);
            heads.Gradient.Read(batch, head, shape.Length, stride, 1, gradients);
            var sums = heads.LogSums + (((long)batch * shape.Heads) + head) * shape.Length;
            for (var first = 0; first < shape.Length; first += AttentionTiles.Rows)
            {
                var (count, seen, padded) = shape.TileAt(first);
                AttentionTiles.Scores(rows + (first * size), size, turnedKeys, stride, padded, weights);
                AttentionTiles.Scores(gradients + (first * size), size, turnedValues, stride, padded, slopes);
                for (var r = 0; r < AttentionTiles.Rows; r++)
                {
                    // Rows of padding see nothing, so they add nothing to any sum.
                    var visible = r < count ? first + r + 1 : 0;
                    AttentionTiles.Exponentials(weights + (r * stride), visible, padded, r < count ? sums[first + r] : 0);
                    var mean = Dot(results + ((first + r) * size), gradients + ((first + r) * size), size);
                    AttentionTiles.SoftmaxSlopes(slopes + (r * stride), weights + (r * stride), padded, mean);
                }

                AttentionTiles.Spread(weights, stride, seen, gradients + (first * size), size, valueSums);
                AttentionTiles.Spread(slopes, stride, seen, rows + (first * size), size, keySums);
                AttentionTiles.Combine(slopes, stride, seen, keys, size, tile);
                heads.QueryGradient.Write(batch, head, first, count, tile, scale);
            }
        }

        scale.Fill(1);
        for (var first = 0; first < shape.Length; first += AttentionTiles.Rows)
        {
            var count = Math.Min(AttentionTiles.Rows, shape.Length - first);
            heads.KeyGradient.Write(batch, shared, first, count, keySums + (first * size), scale);
            heads.ValueGradient.Write(batch, shared, first, count, valueSums + (first * size), scale);
        }
    }

    private static bool IsPaired(Tensor query) => query.dtype == ScalarType.BFloat16 && PairedAttention.Exists;

    private static void ForEachSharedHead(AttentionShape shape, bool isPaired, SharedHeadWork work)
    {
        // Vectors that lie across two cache lines take twice as long to read.
        const int line = 64 / sizeof(float);
        var needed = (isPaired ? PairedAttention.ScratchElements(shape) : shape.ScratchElements) + line;
        var tasks = shape.Batch * shape.SharedHeads;
        KernelThreads.ForEach(tasks, Run);

        void Run(int task)
        {
            if (_scratch is null || _scratch.Length < needed)
                _scratch = GC.AllocateArray<float>(needed, pinned: true);
            fixed (float* memory = _scratch)
                work(task / shape.SharedHeads, task % shape.SharedHeads, (float*)(((nint)memory + 63) & ~63));
        }
    }

    /// <summary>Transposes rows [T, D] into blocks [T / 32, D, 32] for <see cref="AttentionTiles.Scores"/>, zeros after the last row.</summary>
    private static void Turn(float* rows, int length, int size, float* turned, int stride)
    {
        for (var first = 0; first < stride; first += AttentionTiles.Keys, turned += AttentionTiles.Keys * size)
        {
            var count = Math.Min(AttentionTiles.Keys, length - first);
            for (var t = 0; t < AttentionTiles.Keys; t++)
            {
                var row = rows + ((first + t) * size);
                for (var d = 0; d < size; d++)
                    turned[(d * AttentionTiles.Keys) + t] = t < count ? row[d] : 0;
            }
        }
    }

    private static float Dot(float* a, float* b, int size)
    {
        var sum = Vector512<float>.Zero;
        for (var d = 0; d < size; d += 16)
            sum += Vector512.Load(a + d) * Vector512.Load(b + d);
        return Vector512.Sum(sum);
    }

    private static AttentionShape Check(Tensor query, Tensor key, Tensor value)
    {
        if (!Supports(query))
            throw new ArgumentException($"Not supported: {query.dtype} {TensorArgument.Shape(query)} on {query.device}.", nameof(query));
        CheckRows(query, nameof(query));
        ArgumentNullException.ThrowIfNull(key);
        TensorArgument.Dimensions(key, 4, nameof(key));
        TensorArgument.SameType(key, query, nameof(key));
        CheckRows(key, nameof(key));
        CheckLike(value, key, nameof(value));
        var (q, k) = (query.shape, key.shape);
        if (q[0] != k[0] || q[2] != k[2] || q[3] != k[3] || k[1] == 0 || q[1] % k[1] != 0)
            throw new ArgumentException($"Query {TensorArgument.Shape(query)} and key {TensorArgument.Shape(key)} do not belong together.", nameof(key));
        return new AttentionShape((int)q[0], (int)q[1], (int)k[1], (int)q[2], (int)q[3]);
    }

    private static void CheckLike(Tensor tensor, Tensor other, string name)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        TensorArgument.SameType(tensor, other, name);
        TensorArgument.SameShape(tensor, other, name);
        CheckRows(tensor, name);
    }

    private static void CheckRows(Tensor tensor, string name)
    {
        if (tensor.stride()[3] != 1)
            throw new ArgumentException("The last dimension is not contiguous.", name);
    }

    private static HeadRows Rows(Tensor tensor) => new(tensor, TensorMemory.RawPointer(tensor));

    private static void KeepAlive(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (var tensor in tensors)
            GC.KeepAlive(tensor);
    }

    private delegate void SharedHeadWork(int batch, int shared, float* memory);

    private ref struct Scratch(float* memory)
    {
        private float* _next = memory;

        public float* Take(int elements)
        {
            var taken = _next;
            _next += elements;
            return taken;
        }
    }
}
