using Platform.Core.Jobs;
using Platform.Formats.Safetensors;
using ScalarType = TorchSharp.torch.ScalarType;

namespace Platform.Torch;

/// <summary>How libtorch, safetensors and job files name the same element types.</summary>
public static class TensorTypes
{
    /// <summary>The type that holds a file's elements.</summary>
    /// <exception cref="NotSupportedException">libtorch has no type for them here.</exception>
    public static ScalarType ToScalarType(this TensorDataType type) => type switch
    {
        TensorDataType.F64 => ScalarType.Float64,
        TensorDataType.F32 => ScalarType.Float32,
        TensorDataType.F16 => ScalarType.Float16,
        TensorDataType.BF16 => ScalarType.BFloat16,
        TensorDataType.I64 => ScalarType.Int64,
        TensorDataType.I32 => ScalarType.Int32,
        TensorDataType.I16 => ScalarType.Int16,
        TensorDataType.I8 => ScalarType.Int8,
        TensorDataType.U8 => ScalarType.Byte,
        TensorDataType.Bool => ScalarType.Bool,
        _ => throw new NotSupportedException($"Tensors of {type.NameOf()} are not supported."),
    };

    /// <summary>The type a file names for a tensor's elements.</summary>
    /// <exception cref="NotSupportedException">Safetensors has no name for it here.</exception>
    public static TensorDataType ToTensorDataType(this ScalarType type) => type switch
    {
        ScalarType.Float64 => TensorDataType.F64,
        ScalarType.Float32 => TensorDataType.F32,
        ScalarType.Float16 => TensorDataType.F16,
        ScalarType.BFloat16 => TensorDataType.BF16,
        ScalarType.Int64 => TensorDataType.I64,
        ScalarType.Int32 => TensorDataType.I32,
        ScalarType.Int16 => TensorDataType.I16,
        ScalarType.Int8 => TensorDataType.I8,
        ScalarType.Byte => TensorDataType.U8,
        ScalarType.Bool => TensorDataType.Bool,
        _ => throw new NotSupportedException($"Tensors of {type} cannot be written to safetensors."),
    };

    /// <summary>Type of weights and activations in a precision.</summary>
    public static ScalarType ToScalarType(this Precision precision) => precision switch
    {
        Precision.BFloat16 => ScalarType.BFloat16,
        Precision.Float32 => ScalarType.Float32,
        Precision.Float64 => ScalarType.Float64,
        _ => throw new ArgumentOutOfRangeException(nameof(precision), precision, "not a precision"),
    };
}
