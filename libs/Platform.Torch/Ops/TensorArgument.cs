using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch;

/// <summary>Checks of tensor arguments, made before native code could read out of bounds or crash.</summary>
internal static class TensorArgument
{
    public static void Floating(Tensor tensor, string name)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.dtype is not (ScalarType.Float32 or ScalarType.Float64 or ScalarType.BFloat16 or ScalarType.Float16))
            throw new ArgumentException($"Expected a floating-point tensor, found {tensor.dtype}.", name);
    }

    public static void Integer(Tensor tensor, string name)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.dtype is not (ScalarType.Int64 or ScalarType.Int32))
            throw new ArgumentException($"Expected an Int64 or Int32 tensor, found {tensor.dtype}.", name);
    }

    public static void Dimensions(Tensor tensor, int count, string name)
    {
        if (tensor.dim() != count)
            throw new ArgumentException($"Expected {count} dimensions, found shape {Shape(tensor)}.", name);
    }

    public static void SameShape(Tensor tensor, Tensor other, string name)
    {
        if (!tensor.shape.AsSpan().SequenceEqual(other.shape))
            throw new ArgumentException($"Expected shape {Shape(other)}, found {Shape(tensor)}.", name);
    }

    public static void SameType(Tensor tensor, Tensor other, string name)
    {
        if (tensor.dtype != other.dtype)
            throw new ArgumentException($"Expected {other.dtype}, found {tensor.dtype}.", name);
        SameDevice(tensor, other, name);
    }

    public static void SameDevice(Tensor tensor, Tensor other, string name)
    {
        if (tensor.device_type != other.device_type || tensor.device_index != other.device_index)
            throw new ArgumentException($"Expected a tensor on {other.device}, found one on {tensor.device}.", name);
    }

    public static void SameLength(int count, int expected, string name)
    {
        if (count != expected)
            throw new ArgumentException($"Expected {expected} tensors, found {count}.", name);
    }

    public static string Shape(Tensor tensor) => $"[{string.Join(", ", tensor.shape)}]";
}
