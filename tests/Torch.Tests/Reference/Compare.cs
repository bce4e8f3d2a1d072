using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Reference;

internal static class Compare
{
    /// <summary>The elements as doubles, row by row.</summary>
    public static double[] Values(Tensor tensor)
    {
        using var exact = tensor.detach().to(ScalarType.Float64).cpu().contiguous();
        return TensorMemory.Span<double>(exact).ToArray();
    }

    /// <summary>Rounding error of one operation in a type.</summary>
    public static double Epsilon(ScalarType type) => type switch
    {
        ScalarType.Float64 => 1.2e-16,
        ScalarType.Float32 => 6e-8,
        ScalarType.BFloat16 => 4e-3,
        _ => throw new ArgumentException($"No epsilon for {type}."),
    };

    /// <summary>Largest difference, relative to the largest expected magnitude.</summary>
    public static double Error(ReadOnlySpan<double> expected, ReadOnlySpan<double> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        double scale = 1e-300, worst = 0;
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.True(double.IsFinite(actual[i]), $"Element {i} is {actual[i]}.");
            scale = Math.Max(scale, Math.Abs(expected[i]));
            worst = Math.Max(worst, Math.Abs(expected[i] - actual[i]));
        }

        return worst / scale;
    }

    public static void Near(double[] expected, Tensor actual, double tolerance)
    {
        var error = Error(expected, Values(actual));
        Assert.True(error <= tolerance, $"Relative error {error:e2} exceeds {tolerance:e2}.");
    }

    public static void Near(double[] expected, double[] actual, double tolerance)
    {
        var error = Error(expected, actual);
        Assert.True(error <= tolerance, $"Relative error {error:e2} exceeds {tolerance:e2}.");
    }

    public static void SameBits(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.dtype, actual.dtype);
        Assert.Equal(expected.shape, actual.shape);
        using var a = expected.detach().contiguous();
        using var b = actual.detach().contiguous();
        Assert.True(TensorMemory.Bytes(a).SequenceEqual(TensorMemory.Bytes(b)), "Bits differ.");
    }
}
