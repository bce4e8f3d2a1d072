using Platform.Core.Models;

namespace Platform.Serving.Execution;

/// <summary>Sizes of a paged key/value cache.</summary>
/// <param name="Layers">Decoder layers.</param>
/// <param name="Heads">Key/value heads.</param>
/// <param name="HeadSize">Elements per head.</param>
/// <param name="BlockSize">Tokens per block; a multiple of 16.</param>
/// <param name="BlockCount">Blocks.</param>
internal readonly record struct KeyValueCacheShape(int Layers, int Heads, int HeadSize, int BlockSize, int BlockCount)
{
    public const int LaneCount = 16;

    /// <summary>Elements per head in memory: padded to whole vectors.</summary>
    public int HeadStride => (HeadSize + LaneCount - 1) / LaneCount * LaneCount;

    /// <summary>Elements of one head's keys (or values) in one block.</summary>
    public int HeadBlockElements => HeadStride * BlockSize;

    /// <summary>Elements of the keys (or values) of one layer.</summary>
    public long LayerElements => (long)BlockCount * Heads * HeadBlockElements;

    public long ByteLength(int elementBytes) => 2 * Layers * LayerElements * elementBytes;

    /// <summary>Bytes that one block takes in all layers.</summary>
    public static long BytesPerBlock(ModelConfig config, int blockSize, int elementBytes) =>
        Of(config, blockSize, 1).ByteLength(elementBytes);

    public static KeyValueCacheShape Of(ModelConfig config, int blockSize, int blockCount)
    {
        if (blockSize < LaneCount || blockSize % LaneCount != 0)
            throw new ArgumentOutOfRangeException(nameof(blockSize), blockSize, $"Expected a multiple of {LaneCount} tokens per block.");
        return new(config.NumHiddenLayers, config.NumKeyValueHeads, config.HeadDim, blockSize, blockCount);
    }
}

/// <summary>
/// Keys and values of all layers in blocks. Of a block and head, keys lie as [D][block size] and values as [block size][D], so
/// that attention reads 16 keys at once without turning them and values in the order of its sums.
/// </summary>
internal sealed unsafe class KeyValueCache<T> : IDisposable
    where T : unmanaged, IElement<T>
{
    private readonly NativeBuffer _memory;

    public KeyValueCache(KeyValueCacheShape shape)
    {
        Shape = shape;
        _memory = new NativeBuffer(shape.ByteLength(sizeof(T)));
    }

    public KeyValueCacheShape Shape { get; }

    public T* Keys(int layer) => _memory.Pointer<T>() + (2 * layer * Shape.LayerElements);

    public T* Values(int layer) => Keys(layer) + Shape.LayerElements;

    /// <summary>Stores the key and value of one head at a position of a block.</summary>
    public void Write(int layer, int block, int slot, int head, float* key, float* value)
    {
        var start = (((long)block * Shape.Heads) + head) * Shape.HeadBlockElements;
        var keys = Keys(layer) + start + slot;
        RowKernels.Narrow(value, Values(layer) + start + ((long)slot * Shape.HeadStride), Shape.HeadSize);
        var narrow = stackalloc T[KeyValueCacheShape.LaneCount];
        for (var first = 0; first < Shape.HeadSize; first += KeyValueCacheShape.LaneCount)
        {
            var count = Math.Min(KeyValueCacheShape.LaneCount, Shape.HeadSize - first);
            RowKernels.Narrow(key + first, narrow, count);
            for (var d = 0; d < count; d++, keys += Shape.BlockSize)
                *keys = narrow[d];
        }
    }

    public void Dispose() => _memory.Dispose();
}
