using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ScalarType = TorchSharp.torch.ScalarType;

namespace Platform.Torch.Kernels;

/// <summary>Memory in one number format, sixteen elements at a time, computed with in fp32. Indices count elements.</summary>
internal unsafe interface ILanes
{
    static abstract Vector512<float> Load(void* start, long index);

    static abstract void Store(void* start, long index, Vector512<float> value);

    static abstract float LoadOne(void* start, long index);

    static abstract void StoreOne(void* start, long index, float value);
}

/// <summary>fp32.</summary>
internal readonly unsafe struct Float32Lanes : ILanes
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(void* start, long index) => Vector512.Load((float*)start + index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* start, long index, Vector512<float> value) => value.Store((float*)start + index);

    public static float LoadOne(void* start, long index) => ((float*)start)[index];

    public static void StoreOne(void* start, long index, float value) => ((float*)start)[index] = value;
}

/// <summary>bf16: the upper half of an fp32. Rounds to the nearest, ties to even; the NaN that operations produce stays one.</summary>
internal readonly unsafe struct BFloat16Lanes : ILanes
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(void* start, long index)
    {
        var (low, high) = Vector256.Widen(Vector256.Load((ushort*)start + index));
        return (Vector512.Create(low, high) << 16).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* start, long index, Vector512<float> value)
    {
        var bits = value.AsUInt32();
        bits = (bits + Vector512.Create(0x7fffu) + ((bits >>> 16) & Vector512.Create(1u))) >>> 16;
        Vector256.Narrow(bits.GetLower(), bits.GetUpper()).Store((ushort*)start + index);
    }

    public static float LoadOne(void* start, long index) => BitConverter.UInt32BitsToSingle((uint)((ushort*)start)[index] << 16);

    public static void StoreOne(void* start, long index, float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        ((ushort*)start)[index] = (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

/// <summary>What kernels share about lanes.</summary>
internal static unsafe class Lanes
{
    /// <summary>Elements of a vector.</summary>
    public const int Width = 16;

    /// <summary>Formats that there are lanes for.</summary>
    public static bool Exist(ScalarType type) => Vector512.IsHardwareAccelerated && type is ScalarType.Float32 or ScalarType.BFloat16;

    /// <summary>The elements from <paramref name="index"/> to <paramref name="end"/>, at most sixteen; zeros after them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load<T>(void* start, long index, long end)
        where T : struct, ILanes =>
        end - index >= Width ? T.Load(start, index) : LoadPart<T>(start, index, end);

    /// <summary>Writes the elements from <paramref name="index"/> to <paramref name="end"/>, at most sixteen.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(void* start, long index, long end, Vector512<float> value)
        where T : struct, ILanes
    {
        if (end - index >= Width)
            T.Store(start, index, value);
        else
            StorePart<T>(start, index, end, value);
    }

    /// <summary>e^x for x up to 80, to two units in the last place; below −87 the result is about 10⁻³⁸.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exponential(Vector512<float> x)
    {
        // x = n·ln 2 + f with |f| ≤ ln 2 / 2, ln 2 in two parts; e^f by its series; 2^n by adding n to the exponent.
        x = Vector512.Max(x, Vector512.Create(-87f));
        var n = Vector512.Round(x * 1.44269504f);
        var f = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        f = Vector512.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), f);
        var series = Vector512.Create(1f / 5040);
        series = Vector512.FusedMultiplyAdd(series, f, Vector512.Create(1f / 720));
        series = Vector512.FusedMultiplyAdd(series, f, Vector512.Create(1f / 120));
        series = Vector512.FusedMultiplyAdd(series, f, Vector512.Create(1f / 24));
        series = Vector512.FusedMultiplyAdd(series, f, Vector512.Create(1f / 6));
        series = Vector512.FusedMultiplyAdd(series, f, Vector512.Create(0.5f));
        series = Vector512.FusedMultiplyAdd(series, f, Vector512.Create(1f));
        series = Vector512.FusedMultiplyAdd(series, f, Vector512.Create(1f));
        return (series.AsInt32() + (Vector512.ConvertToInt32Native(n) << 23)).AsSingle();
    }

    private static Vector512<float> LoadPart<T>(void* start, long index, long end)
        where T : struct, ILanes
    {
        var part = stackalloc float[Width];
        new Span<float>(part, Width).Clear();
        for (var i = 0; index + i < end; i++)
            part[i] = T.LoadOne(start, index + i);
        return Vector512.Load(part);
    }

    private static void StorePart<T>(void* start, long index, long end, Vector512<float> value)
        where T : struct, ILanes
    {
        for (var i = 0; index + i < end; i++)
            T.StoreOne(start, index + i, value[i]);
    }
}
