namespace Platform.Serving.Execution.Kernels;

/// <summary>
/// Rows of elements, zero where nothing was written, as matrix kernels read them: padded to whole cache lines, an odd number
/// of them, because rows whose distance is a power of two would all fall into the same few sets of the cache.
/// </summary>
internal sealed unsafe class RowBuffer<T> : IDisposable
    where T : unmanaged
{
    private const int LineBytes = 64;

    private readonly NativeBuffer _memory;

    /// <summary>Memory for this many rows of this many elements.</summary>
    public RowBuffer(int rows, int width)
    {
        Stride = StrideFor(width);
        _memory = new NativeBuffer((long)rows * Stride * sizeof(T));
    }

    /// <summary>Elements from row to row.</summary>
    public int Stride { get; }

    public static int StrideFor(int width)
    {
        // Kernels work on 32 columns at a time, which in fp32 are two lines.
        var lines = (((width + 31) / 32 * 32 * sizeof(T)) + LineBytes - 1) / LineBytes;
        return (lines | 1) * LineBytes / sizeof(T);
    }

    public T* Row(int row) => _memory.Pointer<T>() + ((long)row * Stride);

    public void Dispose() => _memory.Dispose();
}
