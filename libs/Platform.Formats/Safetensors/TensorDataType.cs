namespace Platform.Formats.Safetensors;

/// <summary>Element types of safetensors (huggingface/safetensors, README "Format") that occupy whole bytes.</summary>
public enum TensorDataType
{
    /// <summary>IEEE 754 binary64.</summary>
    F64,

    /// <summary>IEEE 754 binary32.</summary>
    F32,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>The upper half of a binary32.</summary>
    BF16,

    /// <summary>8-bit float with 4 exponent bits.</summary>
    F8E4M3,

    /// <summary>8-bit float with 5 exponent bits.</summary>
    F8E5M2,

    /// <summary>Signed 64-bit integer.</summary>
    I64,

    /// <summary>Signed 32-bit integer.</summary>
    I32,

    /// <summary>Signed 16-bit integer.</summary>
    I16,

    /// <summary>Signed 8-bit integer.</summary>
    I8,

    /// <summary>Unsigned 64-bit integer.</summary>
    U64,

    /// <summary>Unsigned 32-bit integer.</summary>
    U32,

    /// <summary>Unsigned 16-bit integer.</summary>
    U16,

    /// <summary>Unsigned 8-bit integer.</summary>
    U8,

    /// <summary>One byte, 0 or 1.</summary>
    Bool,
}

/// <summary>Sizes and names of <see cref="TensorDataType"/>.</summary>
public static class TensorDataTypes
{
    private static readonly Dictionary<string, TensorDataType> ByName = Enum.GetValues<TensorDataType>()
        .ToDictionary(NameOf, type => type, StringComparer.Ordinal);

    /// <summary>The names a file may use, for messages.</summary>
    public static string AllowedNames { get; } = string.Join(", ", ByName.Keys);

    /// <summary>Bytes per element.</summary>
    public static int SizeInBytes(this TensorDataType type) => type switch
    {
        TensorDataType.F64 or TensorDataType.I64 or TensorDataType.U64 => 8,
        TensorDataType.F32 or TensorDataType.I32 or TensorDataType.U32 => 4,
        TensorDataType.F16 or TensorDataType.BF16 or TensorDataType.I16 or TensorDataType.U16 => 2,
        TensorDataType.F8E4M3 or TensorDataType.F8E5M2 or TensorDataType.I8 or TensorDataType.U8 or TensorDataType.Bool => 1,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a tensor data type"),
    };

    /// <summary>The name a safetensors header uses (<c>F32</c>, <c>BF16</c>, <c>F8_E4M3</c>, <c>BOOL</c>…).</summary>
    public static string NameOf(this TensorDataType type) => type switch
    {
        TensorDataType.F8E4M3 => "F8_E4M3",
        TensorDataType.F8E5M2 => "F8_E5M2",
        TensorDataType.Bool => "BOOL",
        _ => type.ToString(),
    };

    /// <summary>The type a safetensors header means by <paramref name="name"/>.</summary>
    /// <returns>False when there is no such type.</returns>
    public static bool TryParse(string name, out TensorDataType type) => ByName.TryGetValue(name, out type);
}
