using System.Runtime.Intrinsics;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Kernels;

/// <summary>
/// The rows of every head of a CPU tensor [B, H, T, D] whose last dimension is contiguous, in fp32 or bf16: reads one head into
/// fp32 memory, and writes one back.
/// </summary>
internal readonly unsafe struct HeadRows
{
    private readonly byte* _start;
    private readonly bool _isHalfWidth;
    private readonly long _batchStride;
    private readonly long _headStride;
    private readonly long _rowStride;
    private readonly int _size;

    public HeadRows(Tensor x_BHTD, nint start)
    {
        _start = (byte*)start;
        _isHalfWidth = x_BHTD.dtype == ScalarType.BFloat16;
        var strides = x_BHTD.stride();
        (_batchStride, _headStride, _rowStride) = (strides[0], strides[1], strides[2]);
        _size = (int)x_BHTD.shape[3];
    }

    /// <summary>The rows of a head where they lie; for bf16 only.</summary>
    public PairedHead At(int batch, int head) => new(
        (nint)(_start + (sizeof(ushort) * ((batch * _batchStride) + (head * _headStride)))), (nint)(sizeof(ushort) * _rowStride));

    /// <summary>
    /// Copies the T rows of a head, each times <paramref name="scale"/>, to rows of D elements, and sets the rows from T to
    /// <paramref name="paddedRows"/> to zero: they are multiplied by zero weights, which would not silence an old infinity.
    /// </summary>
    public void Read(int batch, int head, int rows, int paddedRows, float scale, float* destination)
    {
        new Span<float>(destination + (rows * _size), (paddedRows - rows) * _size).Clear();
        for (var t = 0; t < rows; t++, destination += _size)
        {
            var offset = (batch * _batchStride) + (head * _headStride) + (t * _rowStride);
            for (var d = 0; d < _size; d += 16)
            {
                var value = _isHalfWidth
                    ? BFloat16Lanes.Load(_start, offset + d)
                    : Vector512.Load((float*)_start + offset + d);
                (value * scale).Store(destination + d);
            }
        }
    }

    /// <summary>Writes rows of a head, row t times <c>scale[t]</c>, starting at <paramref name="firstRow"/>.</summary>
    public void Write(int batch, int head, int firstRow, int rows, float* source, ReadOnlySpan<float> scale)
    {
        for (var t = 0; t < rows; t++, source += _size)
        {
            var offset = (batch * _batchStride) + (head * _headStride) + ((firstRow + t) * _rowStride);
            for (var d = 0; d < _size; d += 16)
            {
                var value = Vector512.Load(source + d) * scale[t];
                if (_isHalfWidth)
                    BFloat16Lanes.Store(_start, offset + d, value);
                else
                    value.Store((float*)_start + offset + d);
            }
        }
    }
}
