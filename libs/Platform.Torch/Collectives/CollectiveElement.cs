namespace Platform.Torch.Collectives;

/// <summary>Element type of a <see cref="CollectiveBuffer"/>.</summary>
public enum CollectiveElement
{
    /// <summary>IEEE 754 binary32, 4 bytes.</summary>
    Float32,

    /// <summary>IEEE 754 binary64, 8 bytes.</summary>
    Float64,

    /// <summary>bfloat16: the upper half of a binary32, 2 bytes. Reduced in binary32 and rounded once, to nearest even.</summary>
    BFloat16,

    /// <summary>Two's complement integer of 8 bytes; sums wrap.</summary>
    Int64,

    /// <summary>Unsigned byte; sums wrap.</summary>
    Byte,
}

/// <summary>Facts about element types.</summary>
public static class CollectiveElements
{
    /// <summary>Bytes that one element takes.</summary>
    public static int SizeBytes(this CollectiveElement element) => element switch
    {
        CollectiveElement.Float32 => 4,
        CollectiveElement.Float64 => 8,
        CollectiveElement.BFloat16 => 2,
        CollectiveElement.Int64 => 8,
        CollectiveElement.Byte => 1,
        _ => throw new ArgumentOutOfRangeException(nameof(element), element, "not an element type of collectives"),
    };

    /// <summary>Whether the type is a floating-point one; only those can be averaged.</summary>
    public static bool IsFloatingPoint(this CollectiveElement element) =>
        element is CollectiveElement.Float32 or CollectiveElement.Float64 or CollectiveElement.BFloat16;

    internal static string Describe(this CollectiveElement element) => element switch
    {
        CollectiveElement.Float32 => "float32",
        CollectiveElement.Float64 => "float64",
        CollectiveElement.BFloat16 => "bfloat16",
        CollectiveElement.Int64 => "int64",
        CollectiveElement.Byte => "byte",
        _ => element.ToString(),
    };
}
