using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests;

public sealed class TensorMemoryTests
{
    [Fact]
    public void A_span_becomes_a_tensor_of_its_own_and_back()
    {
        float[] values = [1, 2, 3, 4, 5, 6];
        using var tensor = TensorMemory.FromSpan<float>(values, [2, 3], ScalarType.Float32);
        values[0] = 99;
        Assert.Equal([2, 3], tensor.shape);
        Assert.Equal([1f, 2, 3, 4, 5, 6], TensorMemory.Span<float>(tensor).ToArray());
        TensorMemory.Span<float>(tensor)[5] = 60;
        Assert.Equal(60f, tensor[1, 2].item<float>());
    }

    [Fact]
    public unsafe void Mapped_memory_becomes_a_tensor()
    {
        ushort[] bits = [0x3f80, 0x4000, 0xc040]; // 1, 2 and -3 in bf16
        fixed (ushort* source = bits)
        {
            using var tensor = TensorMemory.FromPointer((nint)source, 6, [3], ScalarType.BFloat16);
            Assert.Equal([1.0, 2, -3], Compare.Values(tensor));
            Assert.Throws<ArgumentException>(() => TensorMemory.FromPointer((nint)0, 6, [3], ScalarType.BFloat16));
            Assert.Throws<ArgumentException>(() => TensorMemory.FromPointer(1, 6, [4], ScalarType.BFloat16));
        }
    }

    [Fact]
    public void The_pointer_of_a_view_is_that_of_its_first_element()
    {
        using var whole = arange(12, ScalarType.Float32);
        using var part = whole.narrow(0, 4, 8);
        Assert.Equal(TensorMemory.DataPointer(whole) + 16, TensorMemory.DataPointer(part));
        Assert.Equal(32, TensorMemory.ByteLength(part));
    }

    [Fact]
    public void Memory_that_is_not_what_it_seems_is_refused()
    {
        using var matrix = ones(3, 4);
        using var turned = matrix.t();
        Assert.Throws<ArgumentException>(() => TensorMemory.DataPointer(turned));
        Assert.Throws<ArgumentException>(() => TensorMemory.Span<double>(matrix).Length);
        Assert.Throws<ArgumentException>(() => TensorMemory.FromSpan<float>(new float[5], [2, 3], ScalarType.Float32));
        Assert.Throws<ArgumentException>(() => TensorMemory.FromSpan<float>(new float[6], [2, 3], ScalarType.Float64));
    }

    [Fact]
    public void An_empty_tensor_is_allowed()
    {
        using var none = TensorMemory.FromSpan<float>([], [0, 4], ScalarType.Float32);
        Assert.Equal(0, TensorMemory.ByteLength(none));
        Assert.True(TensorMemory.Span<float>(none).IsEmpty);
    }
}
