using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Platform.Torch.Kernels.Machine;

/// <summary>A stored number that kernels read and write as fp32, 16 at a time.</summary>
internal unsafe interface IElement<T>
    where T : unmanaged, IElement<T>
{
    /// <summary>Whether matrix kernels take two elements of a row in one step.</summary>
    static abstract bool IsPaired { get; }

    /// <summary>Elements of a row that a matrix kernel takes in one step.</summary>
    static virtual int StepElements => T.IsPaired ? 2 : 1;

    /// <summary>Reads 16 elements.</summary>
    static abstract Vector512<float> Load(T* source);

    /// <summary>Writes 16 elements, rounding to nearest, ties to even.</summary>
    static abstract void Store(T* target, Vector512<float> values);

    /// <summary>Adds one step of 16 dot products to their sums: <c>sums[i] += Σ_j x[j] · weights[i, j]</c>.</summary>
    static abstract Vector512<float> MultiplyStep(T* x, T* weights, Vector512<float> sums);

    /// <summary>One element.</summary>
    static abstract float ToSingle(T value);

    /// <summary>One element, rounded as <see cref="Store"/> rounds.</summary>
    static abstract T FromSingle(float value);
}

/// <summary>Single precision.</summary>
internal readonly unsafe struct Float32Element(float value) : IElement<Float32Element>
{
    private readonly float _value = value;

    public static bool IsPaired => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(Float32Element* source) => Vector512.Load((float*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Float32Element* target, Vector512<float> values) => Vector512.Store(values, (float*)target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyStep(Float32Element* x, Float32Element* weights, Vector512<float> sums) =>
        Vector512.FusedMultiplyAdd(Vector512.Create(x->_value), Vector512.Load((float*)weights), sums);

    public static float ToSingle(Float32Element value) => value._value;

    public static Float32Element FromSingle(float value) => new(value);
}

/// <summary>The upper half of single precision.</summary>
internal readonly unsafe struct BFloat16Element(ushort bits) : IElement<BFloat16Element>
{
    private readonly ushort _bits = bits;

    public static bool IsPaired => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(BFloat16Element* source)
    {
        var bits = Vector256.Load((ushort*)source);
        var wide = Avx512F.IsSupported
            ? Avx512F.ConvertToVector512UInt32(bits)
            : Vector512.Create(Vector256.WidenLower(bits), Vector256.WidenUpper(bits));
        return (wide << 16).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(BFloat16Element* target, Vector512<float> values)
    {
        var bits = values.AsUInt32();
        var rounded = bits + Vector512.Create(0x7FFFu) + ((bits >> 16) & Vector512.Create(1u));
        rounded = Vector512.ConditionalSelect(
            Vector512.Equals(values, values).AsUInt32(), rounded, bits | Vector512.Create(0x0040_0000u)) >> 16;
        var narrow = Avx512F.IsSupported
            ? Avx512F.ConvertToVector256UInt16(rounded)
            : Vector512.Narrow(rounded, rounded).GetLower();
        Vector256.Store(narrow, (ushort*)target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyStep(BFloat16Element* x, BFloat16Element* weights, Vector512<float> sums)
    {
        var pairs = Vector512.Load((uint*)weights);
        sums = Vector512.FusedMultiplyAdd(Vector512.Create(ToSingle(x[0])), (pairs << 16).AsSingle(), sums);
        return Vector512.FusedMultiplyAdd(Vector512.Create(ToSingle(x[1])), (pairs & Vector512.Create(0xFFFF_0000u)).AsSingle(), sums);
    }

    public static float ToSingle(BFloat16Element value) => BitConverter.UInt32BitsToSingle((uint)value._bits << 16);

    public static BFloat16Element FromSingle(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        var rounded = float.IsNaN(value) ? bits | 0x0040_0000u : bits + 0x7FFFu + ((bits >> 16) & 1u);
        return new((ushort)(rounded >> 16));
    }
}
