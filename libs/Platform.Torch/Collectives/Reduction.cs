using System.Numerics;
using System.Runtime.Intrinsics;

namespace Platform.Torch.Collectives;

/// <summary>
/// The arithmetic of reductions, the same for every transport: element i of the result is ((s0[i] ∘ s1[i]) ∘ s2[i]) ∘ … in
/// the order of <c>sources</c>. Elements are independent, so cutting a buffer anywhere changes no bits (of numbers; the
/// payload of a NaN is not defined).
/// </summary>
internal static unsafe class Reduction
{
    /// <summary>Folds the sources into the destination, which may be one of them.</summary>
    public static void Fold(CollectiveElement element, ReduceOperation operation, ReadOnlySpan<nint> sources, nint destination, long count)
    {
        if (count == 0)
            return;
        fixed (nint* pointers = sources)
        {
            switch (element)
            {
                case CollectiveElement.Float32:
                    FoldNumbers<float>(operation, (float**)pointers, sources.Length, (float*)destination, count);
                    break;
                case CollectiveElement.Float64:
                    FoldNumbers<double>(operation, (double**)pointers, sources.Length, (double*)destination, count);
                    break;
                case CollectiveElement.Int64:
                    FoldNumbers<long>(operation, (long**)pointers, sources.Length, (long*)destination, count);
                    break;
                case CollectiveElement.Byte:
                    FoldNumbers<byte>(operation, (byte**)pointers, sources.Length, (byte*)destination, count);
                    break;
                case CollectiveElement.BFloat16:
                    FoldBFloat16(operation, (ushort**)pointers, sources.Length, (ushort*)destination, count);
                    break;
                default:
                    throw new ArgumentOutOfRangeException(nameof(element), element, "not an element type of collectives");
            }
        }
    }

    private static void FoldNumbers<T>(ReduceOperation operation, T** sources, int ranks, T* destination, long count)
        where T : unmanaged, INumber<T>
    {
        switch (operation)
        {
            case ReduceOperation.Sum: Fold<T, Sum<T>>(sources, ranks, destination, count, average: false); break;
            case ReduceOperation.Average: Fold<T, Sum<T>>(sources, ranks, destination, count, average: true); break;
            case ReduceOperation.Max: Fold<T, Max<T>>(sources, ranks, destination, count, average: false); break;
            case ReduceOperation.Min: Fold<T, Min<T>>(sources, ranks, destination, count, average: false); break;
            default: throw new ArgumentOutOfRangeException(nameof(operation), operation, "not a reduction");
        }
    }

    private static void FoldBFloat16(ReduceOperation operation, ushort** sources, int ranks, ushort* destination, long count)
    {
        switch (operation)
        {
            case ReduceOperation.Sum: FoldRounded<Sum<float>>(sources, ranks, destination, count, average: false); break;
            case ReduceOperation.Average: FoldRounded<Sum<float>>(sources, ranks, destination, count, average: true); break;
            case ReduceOperation.Max: FoldRounded<Max<float>>(sources, ranks, destination, count, average: false); break;
            case ReduceOperation.Min: FoldRounded<Min<float>>(sources, ranks, destination, count, average: false); break;
            default: throw new ArgumentOutOfRangeException(nameof(operation), operation, "not a reduction");
        }
    }

    private static void Fold<T, TFold>(T** sources, int ranks, T* destination, long count, bool average)
        where T : unmanaged, INumber<T>
        where TFold : struct, IFold<T>
    {
        var divisor = average ? T.CreateChecked(ranks) : T.One;
        var divisors = Vector512.Create(divisor);
        var width = Vector512<T>.Count;
        long i = 0;
        for (; i <= count - 2 * width; i += 2 * width)
        {
            var first = Vector512.Load(sources[0] + i);
            var second = Vector512.Load(sources[0] + i + width);
            for (var rank = 1; rank < ranks; rank++)
            {
                first = TFold.Combine(first, Vector512.Load(sources[rank] + i));
                second = TFold.Combine(second, Vector512.Load(sources[rank] + i + width));
            }
            if (average)
            {
                first /= divisors;
                second /= divisors;
            }
            first.Store(destination + i);
            second.Store(destination + i + width);
        }
        for (; i < count; i++)
        {
            var value = sources[0][i];
            for (var rank = 1; rank < ranks; rank++)
                value = TFold.Combine(value, sources[rank][i]);
            destination[i] = average ? value / divisor : value;
        }
    }

    private static void FoldRounded<TFold>(ushort** sources, int ranks, ushort* destination, long count, bool average)
        where TFold : struct, IFold<float>
    {
        var divisors = Vector512.Create((float)ranks);
        var width = Vector512<ushort>.Count;
        long i = 0;
        for (; i <= count - width; i += width)
        {
            var (low, high) = Widen(Vector512.Load(sources[0] + i));
            for (var rank = 1; rank < ranks; rank++)
            {
                var (nextLow, nextHigh) = Widen(Vector512.Load(sources[rank] + i));
                low = TFold.Combine(low, nextLow);
                high = TFold.Combine(high, nextHigh);
            }
            if (average)
            {
                low /= divisors;
                high /= divisors;
            }
            Vector512.Narrow(Round(low), Round(high)).Store(destination + i);
        }
        for (; i < count; i++)
        {
            var value = FromBFloat16(sources[0][i]);
            for (var rank = 1; rank < ranks; rank++)
                value = TFold.Combine(value, FromBFloat16(sources[rank][i]));
            destination[i] = ToBFloat16(average ? value / ranks : value);
        }
    }

    /// <summary>The binary32 with the same value.</summary>
    internal static float FromBFloat16(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    /// <summary>The nearest bfloat16, ties to even; a NaN stays a quiet NaN.</summary>
    internal static ushort ToBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value)
            ? (ushort)((bits >> 16) | 0x40)
            : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    private static (Vector512<float> Low, Vector512<float> High) Widen(Vector512<ushort> bits)
    {
        var (low, high) = Vector512.Widen(bits);
        return ((low << 16).AsSingle(), (high << 16).AsSingle());
    }

    private static Vector512<uint> Round(Vector512<float> value)
    {
        var bits = value.AsUInt32();
        var upper = bits >>> 16;
        var rounded = (bits + Vector512.Create(0x7FFFu) + (upper & Vector512<uint>.One)) >>> 16;
        var quiet = upper | Vector512.Create(0x40u);
        return Vector512.ConditionalSelect(Vector512.Equals(value, value).AsUInt32(), rounded, quiet);
    }

    private interface IFold<T>
    {
        static abstract T Combine(T left, T right);

        static abstract Vector512<T> Combine(Vector512<T> left, Vector512<T> right);
    }

    private readonly struct Sum<T> : IFold<T>
        where T : unmanaged, INumber<T>
    {
        public static T Combine(T left, T right) => unchecked(left + right);

        public static Vector512<T> Combine(Vector512<T> left, Vector512<T> right) => left + right;
    }

    private readonly struct Max<T> : IFold<T>
        where T : unmanaged, INumber<T>
    {
        public static T Combine(T left, T right) => T.Max(left, right);

        public static Vector512<T> Combine(Vector512<T> left, Vector512<T> right) => Vector512.Max(left, right);
    }

    private readonly struct Min<T> : IFold<T>
        where T : unmanaged, INumber<T>
    {
        public static T Combine(T left, T right) => T.Min(left, right);

        public static Vector512<T> Combine(Vector512<T> left, Vector512<T> right) => Vector512.Min(left, right);
    }
}
